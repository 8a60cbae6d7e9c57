//! Completion in a shell: the words of the grammar, and the ids of tenants.
//!
//! Deliberately from `t_` on alone: every id starts so, and nothing else does. Invariant: what completes
//! ids is silent and over soon, whatever is wrong; a prompt that hangs or scolds is worse than none.

use std::time::Duration;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::api::Query;
use crate::cli::Cli;
use crate::context::Context;
use crate::failure::{Failure, text};
use crate::values;

/// The longest that a shell is kept waiting for ids.
const PATIENCE: Duration = Duration::from_secs(1);
/// Another time, such as `30s`, for a machine on which starting takes longer than that; told to nobody,
/// because whoever types waits no longer.
const OTHER_PATIENCE: &str = "TENANTCTL_COMPLETION_PATIENCE";
/// Tenants that are looked at for one word.
const MOST_LOOKED_AT: usize = 200;
/// Where the generated script of zsh begins with its function.
const ZSH_FUNCTION: &str = "_tenantctl() {";

const BASH_IDS: &str = r#"
_tenantctl_with_ids() {
    _tenantctl "$@"
    local word="${COMP_WORDS[COMP_CWORD]}"
    if [[ "$word" == t_* ]]; then
        COMPREPLY=( $(compgen -W "$(tenantctl complete-tenants "$word" "$COMP_LINE" 2>/dev/null)" -- "$word") )
    fi
}
complete -F _tenantctl_with_ids -o bashdefault -o default tenantctl
"#;

const ZSH_IDS: &str = r#"_tenantctl_value() {
    if [[ "$PREFIX" == t_* ]]; then
        compadd -- ${(f)"$(tenantctl complete-tenants "$PREFIX" "$words" 2>/dev/null)"}
    else
        _default
    fi
}

"#;

const FISH_IDS: &str = r#"
complete -c tenantctl -n 'string match -q "t_*" -- (commandline -ct)' -f -a '(tenantctl complete-tenants (commandline -ct) (commandline -p) 2>/dev/null)'
"#;

/// Print a completion script for a shell.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tenantctl completion bash > ~/.local/share/bash-completion/completions/tenantctl
  tenantctl completion zsh > ~/.zfunc/_tenantctl
  tenantctl completion fish > ~/.config/fish/completions/tenantctl.fish

These three shells also complete tenant ids, for words that start with t_. They ask the server that the line
names with --profile or --url, or that of the current profile.")]
pub(crate) struct Completion {
    /// The shell.
    shell: Shell,
}

/// Print the ids of tenants that start with a word, for the completion scripts.
#[derive(Debug, Args)]
pub(crate) struct CompleteTenants {
    /// What was typed so far.
    prefix: String,
    /// The whole line, which may name another profile or server.
    #[arg(default_value = "")]
    line: String,
}

/// What a line says for a flag, as `--flag value` or `--flag=value`; the last one counts.
fn said<'a>(line: &'a str, flag: &str) -> Option<&'a str> {
    let mut found = None;
    let mut words = line.split_whitespace();
    while let Some(word) = words.next() {
        match word.strip_prefix(flag) {
            Some("") => found = words.next(),
            Some(rest) => found = rest.strip_prefix('=').or(found),
            None => {}
        }
    }
    found.map(|value| value.trim_matches(['"', '\'']))
}

impl Completion {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "tenantctl", &mut script);
        let script = String::from_utf8_lossy(&script);
        context.out.raw(&match self.shell {
            Shell::Bash => format!("{script}{BASH_IDS}"),
            Shell::Fish => format!("{script}{FISH_IDS}"),
            Shell::Zsh => script.replace(":_default", ":_tenantctl_value").replacen(
                ZSH_FUNCTION,
                &format!("{ZSH_IDS}{ZSH_FUNCTION}"),
                1,
            ),
            _ => script.into_owned(),
        })
    }
}

impl CompleteTenants {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let profile = said(&self.line, "--profile");
        let Ok(context) = context.naming(profile, said(&self.line, "--url")) else {
            return Ok(());
        };
        let found = tokio::time::timeout(patience(), ids(&context, &self.prefix)).await;
        match found {
            Ok(Ok(ids)) => context.out.raw(&ids),
            // Nothing to propose is no failure.
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }
}

fn patience() -> Duration {
    let other = std::env::var(OTHER_PATIENCE).ok();
    other
        .and_then(|text| values::duration(&text).ok())
        .unwrap_or(PATIENCE)
}

/// The ids that start so, each on a line.
async fn ids(context: &Context, prefix: &str) -> Result<String, Failure> {
    let query: Query = vec![("text", prefix.to_owned())];
    let api = context.api()?;
    let tenants = api
        .items("/v1/tenants", &query, MOST_LOOKED_AT, "/id")
        .await?;
    Ok(tenants
        .iter()
        .map(|tenant| text(tenant, "/id"))
        .filter(|id| id.starts_with(prefix))
        .map(|id| format!("{id}\n"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::said;

    #[test]
    fn a_line_says_which_profile_is_meant() {
        let said = |line| said(line, "--profile");
        assert_eq!(said("tenantctl --profile far tenants show t_"), Some("far"));
        assert_eq!(
            said("tenantctl tenants --profile='far' show t_"),
            Some("far")
        );
        assert_eq!(said("tenantctl --profile a --profile=b show t_"), Some("b"));
        assert_eq!(said("tenantctl tenants show t_"), None);
        assert_eq!(said("tenantctl profiles --profiles x"), None);
        assert_eq!(said("tenantctl --profile"), None);
    }
}
