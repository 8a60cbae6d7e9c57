//! The help of every command, and that its examples are commands.

use clap::{CommandFactory as _, Parser as _};

use super::*;

/// Every command that does something, with the words that lead to it.
fn leaves(command: &clap::Command, path: &[String]) -> Vec<(Vec<String>, clap::Command)> {
    let below: Vec<_> = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .collect();
    if below.is_empty() {
        return vec![(path.to_vec(), command.clone())];
    }
    below
        .into_iter()
        .flat_map(|command| {
            let path = [path, &[command.get_name().to_owned()]].concat();
            leaves(command, &path)
        })
        .collect()
}

fn all() -> Vec<(Vec<String>, clap::Command)> {
    let mut root = Cli::command();
    root.build();
    leaves(&root, &["tenantctl".to_owned()])
}

/// The words of a line as a shell reads them: quotes, and no redirection.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (' ', None) => words.push(String::new()),
            (c, _) => {
                if let Some(word) = words.last_mut() {
                    word.push(c);
                }
            }
        }
    }
    words
        .into_iter()
        .take_while(|word| !matches!(word.as_str(), "<" | ">" | "|"))
        .filter(|word| !word.is_empty())
        .collect()
}

#[test]
fn the_grammar_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_an_example_that_is_a_command() {
    for (path, command) in all() {
        let path = path.join(" ");
        let help = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let examples: Vec<&str> = help
            .lines()
            .filter(|line| line.starts_with("  tenantctl "))
            .map(str::trim)
            .collect();
        assert!(!examples.is_empty(), "{path} has no example");
        assert!(command.get_about().is_some(), "{path} says nothing");
        for example in examples {
            assert!(example.starts_with(&path), "{path}: {example}");
            let parsed = Cli::try_parse_from(words(example));
            assert!(parsed.is_ok(), "{example}\n{}", parsed.unwrap_err());
        }
    }
}

#[test]
fn the_help_of_every_command() {
    let mut text = Cli::command().render_help().to_string();
    for (path, mut command) in all() {
        let path = path.join(" ");
        // Flags of every command are in the help of the program once.
        let names: Vec<_> = command
            .get_arguments()
            .filter(|argument| argument.is_global_set())
            .map(|argument| argument.get_id().clone())
            .collect();
        for name in names {
            command = command.mut_arg(name, |argument| argument.hide(true));
        }
        text.push_str(&format!("\n=== {path}\n{}", command.render_help()));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_command_that_is_nearly_right_is_proposed() {
    for (wrong, right) in [
        (vec!["tenantctl", "tenant", "lsit"], "list"),
        (vec!["tenantctl", "clustres", "list"], "clusters"),
        (
            vec!["tenantctl", "tenants", "list", "--teir", "x"],
            "--tier",
        ),
    ] {
        let message = Cli::try_parse_from(&wrong).unwrap_err().to_string();
        assert!(message.contains(right), "{wrong:?}: {message}");
    }
}
