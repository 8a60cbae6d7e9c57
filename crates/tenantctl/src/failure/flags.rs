//! What a field of a request is called on the command line.
//!
//! Deliberately most are not listed: a flag has the name of its field. Invariant: a flag that is named
//! here is one that some command has.

use clap::CommandFactory as _;

use crate::cli::Cli;

/// The flags of fields that are called otherwise in the API.
const FLAGS: [(&str, &str); 9] = [
    ("/concurrency", "--at-once"),
    ("/connection_budget", "--budget"),
    ("/timeout_ms", "--tenant-timeout (in milliseconds here)"),
    ("/ttl_seconds", "--ttl (in seconds here)"),
    ("/keep_old_hours", "--keep-old"),
    ("/every_minutes", "--every (in minutes here)"),
    ("/max_disk_bytes", "--max-disk-gib (in bytes here)"),
    ("/contact_email", "--contact"),
    ("/takes_over_from", "--take-over-from"),
];

/// What a field of a request is called on the command line: as it is where no flag gives it.
pub(super) fn flag_of(pointer: &str) -> String {
    if let Some((_, flag)) = FLAGS.iter().find(|(field, _)| *field == pointer) {
        return (*flag).to_owned();
    }
    let name = pointer.trim_start_matches('/').replace('_', "-");
    if is_flag(&Cli::command(), &name) {
        format!("--{name}")
    } else {
        pointer.to_owned()
    }
}

fn is_flag(command: &clap::Command, name: &str) -> bool {
    let mut arguments = command.get_arguments();
    arguments.any(|argument| argument.get_long() == Some(name))
        || command.get_subcommands().any(|sub| is_flag(sub, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_that_is_named_is_one_that_some_command_has() {
        for (field, flag) in FLAGS {
            let name = flag.split(' ').next().unwrap().trim_start_matches('-');
            assert!(is_flag(&Cli::command(), name), "{field}: {flag}");
        }
    }

    #[test]
    fn a_field_is_called_what_its_flag_is_called() {
        assert_eq!(flag_of("/contact_email"), "--contact");
        assert_eq!(flag_of("/time_zone"), "--time-zone");
        assert_eq!(flag_of("/no/flag"), "/no/flag");
    }
}
