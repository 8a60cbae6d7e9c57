//! Commands that do not come to their end: a time that is over, a Ctrl-C.

use std::process::Stdio;

use world::{World, WorldOptions, until};

use super::Ctl;
use crate::support::{silenced, unique};

/// A world in which what is begun waits for a service.
async fn waiting() -> World {
    let world = World::with(WorldOptions::default()).await;
    silenced(&world).await;
    world
}

fn create(slug: &str) -> Vec<&str> {
    let flags = "--company Waits --email grace@waits.example --generate-password --slug";
    let words = ["tenants", "create"].into_iter();
    words.chain(flags.split(' ')).chain([slug]).collect()
}

#[tokio::test]
async fn a_password_that_was_made_is_shown_however_the_command_ends() {
    let world = waiting().await;
    let ctl = Ctl::new(&world);
    let slug = unique("waits");
    let ran = ctl.run(&[&create(&slug)[..], &["--timeout", "1s"]].concat());
    let ran = ran.expect(6);
    ran.says("it is still running");
    ran.says("The owner's password, which is not shown again: ");
    assert_eq!(ran.out, "");
}

#[tokio::test]
async fn ctrl_c_ends_a_command_and_nothing_else() {
    let world = waiting().await;
    let ctl = Ctl::new(&world);
    let slug = unique("waits");
    let mut command = ctl.command(&create(&slug));
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = "select count(*) from registry.operation where kind = 'create'";
    until("it is begun", || async {
        world.postgres().number("registry", begun).await == 1
    })
    .await;
    let pid = child.id().to_string();
    let told = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status();
    assert!(told.unwrap().success());
    let ran = super::Ran::from(child.wait_with_output().unwrap()).expect(130);
    ran.says("interrupted");
    ran.says("The owner's password, which is not shown again: ");
    let running =
        "select count(*) from registry.operation where kind = 'create' and state = 'running'";
    assert_eq!(world.postgres().number("registry", running).await, 1);
}
