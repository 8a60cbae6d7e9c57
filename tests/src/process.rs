//! platform-service as a real process, which can be killed like one.
//!
//! Deliberately the program as it is: it is set by its environment and tells its addresses in its log.
//! Invariants: a kill is SIGKILL, so not one instruction more is run; what it logs is kept with the
//! logs of this process; it ends with this value.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::logs::Logs;
use crate::wait::DEADLINE;
use crate::world::World;

/// platform-service in a process of its own.
#[derive(Debug)]
pub struct PlatformProcess {
    child: Child,
    pub(crate) public: SocketAddr,
    pub(crate) internal: SocketAddr,
}

impl PlatformProcess {
    async fn start(mut command: Command) -> Self {
        let mut child = command
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("it was piped");
        let mut lines = BufReader::new(stdout).lines();
        let (public, internal) = tokio::time::timeout(DEADLINE, addresses(&mut lines))
            .await
            .expect("it serves in time");
        tokio::spawn(async move { while keep(&mut lines).await.is_some() {} });
        Self {
            child,
            public,
            internal,
        }
    }

    /// Base URL of sign-up and operators' API.
    pub fn url(&self) -> String {
        format!("http://{}", self.public)
    }

    /// Kills it, and waits until it is gone.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// Asks it to stop, as a process manager does, and waits for its end.
    pub async fn terminate(mut self) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().await;
        assert!(sent.is_ok_and(|status| status.success()), "a signal");
        let status = self.child.wait().await.expect("it ends");
        assert!(status.success(), "{status}");
    }
}

impl World {
    /// Starts platform-service as a process: `program` is `platform-service` or what serves like it.
    pub async fn platform_process(&self, program: impl AsRef<Path>) -> PlatformProcess {
        self.platform_process_with(program, &[]).await
    }

    /// The same with further environment variables.
    pub async fn platform_process_with(
        &self,
        program: impl AsRef<Path>,
        variables: &[(&str, &str)],
    ) -> PlatformProcess {
        PlatformProcess::start(self.platform_command(program, variables)).await
    }

    /// The program with this world's settings and further environment variables, to be given a command.
    pub fn platform_command(
        &self,
        program: impl AsRef<Path>,
        variables: &[(&str, &str)],
    ) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .envs(self.inside().platform_environment())
            .envs(variables.iter().copied());
        command
    }

    /// Directs app-service to a process of platform-service.
    pub fn direct_to(&self, process: &PlatformProcess) {
        self.inside().platform_link.retarget(process.internal);
    }
}

/// Where it serves, once it says so.
async fn addresses(lines: &mut Lines<BufReader<ChildStdout>>) -> (SocketAddr, SocketAddr) {
    loop {
        let line = keep(lines).await.expect("it serves before it ends");
        let line: Value = serde_json::from_str(&line).unwrap_or_default();
        let fields = &line["fields"];
        let address = |name: &str| {
            let text = fields[name].as_str().or_else(|| line[name].as_str())?;
            text.parse().ok()
        };
        if let (Some(public), Some(internal)) = (address("public"), address("internal")) {
            return (public, internal);
        }
    }
}

/// The next line, which is kept with the logs.
async fn keep(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<String> {
    let line = lines.next_line().await.ok().flatten()?;
    Logs::of_process().keep(&line);
    Some(line)
}
