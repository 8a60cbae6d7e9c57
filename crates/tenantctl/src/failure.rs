//! What can go wrong, with its words, what to do next, and the exit code.
//!
//! Deliberately tolerant of codes that a newer platform has: a code is text here. Invariant: the exit
//! codes are an interface: 0 done, 1 failed, 2 wrong use, 3 not found, 4 not allowed, 5 conflict, 6 not
//! ready in time, 130 interrupted.

use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use serde::Deserialize;
use serde_json::Value;

use crate::api::Route;
use crate::cli::Cli;

/// Something failed that no other code names.
pub(crate) const FAILED: u8 = 1;
/// The command or the request is wrong.
pub(crate) const USAGE: u8 = 2;
const NOT_FOUND: u8 = 3;
const NOT_ALLOWED: u8 = 4;
const CONFLICT: u8 = 5;
const NOT_READY: u8 = 6;
pub(crate) const INTERRUPTED: u8 = 130;

/// A problem document, whatever its code.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Refusal {
    #[serde(default)]
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) title: String,
    #[serde(default)]
    pub(crate) detail: Option<String>,
    #[serde(default)]
    pub(crate) request_id: Option<String>,
    #[serde(default)]
    pub(crate) errors: Vec<RefusedField>,
    #[serde(default)]
    pub(crate) proposal: Option<String>,
}

/// A field that breaks its rule.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct RefusedField {
    pub(crate) pointer: String,
    pub(crate) detail: String,
}

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(
        "an operator key stands on the command line, where other processes and the shell's history can read it"
    )]
    KeyOnCommandLine,
    /// The command says something that cannot be done.
    #[error("{what}")]
    Usage { what: String, next: Vec<String> },
    /// The profile's file, or what it says.
    #[error("{what}")]
    Profile { what: String, next: Vec<String> },
    #[error("{}", refused(.route, .refusal))]
    Refused {
        route: Route,
        refusal: Box<Refusal>,
        /// Names that come close to the one that is not known.
        close: Vec<String>,
    },
    #[error("{server} gives no answer")]
    Unreachable {
        server: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("{server} answers {status} with something that is no answer of a platform-service")]
    Strange { server: String, status: u16 },
    #[error("the operation {} failed", text(.0, "/id"))]
    Operation(Box<Value>),
    #[error("the {} {} is not over in time; it goes on", .0.what, .0.id)]
    NotInTime(Going),
    #[error("the platform gives no answer any more; the {} {} goes on", .0.what, .0.id)]
    OutOfSight(Going, #[source] Box<Failure>),
    #[error("it is changed, and not every replica has heard of it in time")]
    Unheard,
    #[error("interrupted; the {} {} goes on", .0.what, .0.id)]
    LeftRunning(Going),
    #[error("interrupted")]
    Interrupted,
    #[error("not confirmed; nothing was changed")]
    NotConfirmed,
    /// The command worked, and what it found is bad.
    #[error("{what}")]
    Found { what: String, next: Vec<String> },
    #[error("{0} {path} failed", path = .1.display())]
    File(&'static str, PathBuf, #[source] std::io::Error),
    #[error("{0} failed")]
    Io(&'static str, #[source] std::io::Error),
    /// Whoever reads our output has gone: nothing to say.
    #[error("the output is closed")]
    OutputClosed,
}

/// Something that goes on without this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Going {
    /// What it is.
    pub(crate) what: &'static str,
    pub(crate) id: String,
    /// The words that follow it.
    pub(crate) command: &'static str,
}

impl Going {
    /// An operation.
    pub(crate) fn operation(id: &str) -> Self {
        Self {
            what: "operation",
            id: id.to_owned(),
            command: "operations watch",
        }
    }
}

/// A text of a JSON document, or nothing.
pub(crate) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

impl Failure {
    /// Whether the platform refused this field.
    pub(crate) fn is_about(&self, pointer: &str) -> bool {
        match self {
            Self::Refused { refusal, .. } => {
                refusal.errors.iter().any(|field| field.pointer == pointer)
            }
            _ => false,
        }
    }

    /// A wrong use, without further advice.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::Usage {
            what: what.into(),
            next: Vec::new(),
        }
    }

    /// There is nothing at a path of the API.
    pub(crate) fn missing(path: &str) -> Self {
        Self::Refused {
            route: Route::get(path),
            refusal: Box::new(Refusal {
                status: 404,
                code: "not-found".to_owned(),
                ..Refusal::default()
            }),
            close: Vec::new(),
        }
    }

    /// Something could not be done to a file.
    pub(crate) fn file(what: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Self + Copy {
        move |error| Self::File(what, path.to_owned(), error)
    }

    /// Whether the platform may answer the same question a little later: it is away, or not ready.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { refusal, .. } => matches!(refusal.status, 429 | 503),
            _ => false,
        }
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> u8 {
        match self {
            Self::KeyOnCommandLine | Self::Usage { .. } => USAGE,
            Self::Profile { .. } => NOT_ALLOWED,
            Self::Refused { refusal, .. } => match refusal.status {
                400 | 405 | 413 | 415 | 422 => USAGE,
                401 | 403 => NOT_ALLOWED,
                404 | 410 => NOT_FOUND,
                409 | 412 | 428 => CONFLICT,
                429 | 503 => NOT_READY,
                _ => FAILED,
            },
            Self::Unreachable { .. }
            | Self::NotInTime(_)
            | Self::OutOfSight(..)
            | Self::Unheard => NOT_READY,
            Self::LeftRunning(_) | Self::Interrupted => INTERRUPTED,
            Self::OutputClosed => 0,
            Self::Strange { .. }
            | Self::Operation(_)
            | Self::NotConfirmed
            | Self::Found { .. }
            | Self::File(..)
            | Self::Io(..) => FAILED,
        }
    }

    /// The stable word for it, as scripts read it.
    pub(crate) fn code(&self) -> String {
        match self {
            Self::KeyOnCommandLine => "key-on-command-line".to_owned(),
            Self::Usage { .. } => "usage".to_owned(),
            Self::Profile { .. } => "profile".to_owned(),
            Self::Refused { refusal, .. } => refusal.code.clone(),
            Self::Unreachable { .. } | Self::OutOfSight(..) => "unreachable".to_owned(),
            Self::Strange { .. } => "strange-answer".to_owned(),
            Self::Operation(view) => match text(view, "/failure/code") {
                "" => "operation-failed".to_owned(),
                code => code.to_owned(),
            },
            Self::NotInTime(_) | Self::Unheard => "not-in-time".to_owned(),
            Self::LeftRunning(_) | Self::Interrupted => "interrupted".to_owned(),
            Self::NotConfirmed => "not-confirmed".to_owned(),
            Self::Found { .. } => "found".to_owned(),
            Self::File(..) | Self::Io(..) | Self::OutputClosed => "io".to_owned(),
        }
    }

    /// What is known beyond the first line.
    pub(crate) fn details(&self) -> Vec<String> {
        match self {
            Self::Refused { refusal, .. } => {
                let fields = refusal
                    .errors
                    .iter()
                    .map(|field| format!("{} {}", flag_of(&field.pointer), field.detail));
                let detail = refusal
                    .detail
                    .iter()
                    .filter(|_| refusal.code != "not-found");
                detail.cloned().chain(fields).collect()
            }
            Self::Operation(view) => {
                let step = text(view, "/step");
                let reason = match text(view, "/failure/detail") {
                    "" => "no reason is recorded",
                    detail => detail,
                };
                let left = match text(view, "/state") {
                    "stuck" => "It is stuck: it can go neither on nor back by itself.",
                    _ => "What it had done is undone.",
                };
                vec![format!("step {step}: {reason}"), left.to_owned()]
            }
            Self::Unreachable { source, .. } => vec![chain(source)],
            Self::File(_, _, source) | Self::Io(_, source) => vec![source.to_string()],
            _ => Vec::new(),
        }
    }

    /// What to do about it.
    pub(crate) fn next(&self) -> Vec<String> {
        match self {
            Self::KeyOnCommandLine => vec![
                "revoke that key: `tenantctl keys revoke opr_...`".to_owned(),
                "keep a key with `tenantctl login --key-stdin < file`, or set TENANTCTL_KEY".to_owned(),
            ],
            Self::Usage { next, .. } | Self::Profile { next, .. } | Self::Found { next, .. } => {
                next.clone()
            }
            Self::Refused {
                route,
                refusal,
                close,
            } => after_refusal(route, refusal, close),
            Self::Unreachable { .. } => vec![
                "check the address (--url, TENANTCTL_URL or `tenantctl profiles`) and that platform-service runs"
                    .to_owned(),
            ],
            Self::Strange { .. } => vec![
                "check that the address is that of platform-service's public listener".to_owned(),
            ],
            Self::Operation(view) => {
                let id = text(view, "/id");
                match text(view, "/state") {
                    "stuck" => vec![
                        format!("see what happened: `tenantctl operations show {id}`"),
                        format!("mend the cause, then `tenantctl operations retry {id}`"),
                    ],
                    _ => vec![
                        format!("see what happened: `tenantctl operations show {id}`"),
                        "mend the cause and give the command again".to_owned(),
                    ],
                }
            }
            Self::NotInTime(going) | Self::OutOfSight(going, _) | Self::LeftRunning(going) => vec![format!(
                "follow it with `tenantctl {} {}`",
                going.command, going.id
            )],
            Self::Unheard => vec![
                "see who has not: `tenantctl replicas list`; look whether it reaches the platform"
                    .to_owned(),
            ],
            Self::Interrupted | Self::NotConfirmed | Self::File(..) | Self::Io(..)
            | Self::OutputClosed => Vec::new(),
        }
    }
}

/// The flags of fields that are called otherwise in the API.
const FLAGS: [(&str, &str); 9] = [
    ("/concurrency", "--at-once"),
    ("/connection_budget", "--budget"),
    ("/timeout_ms", "--tenant-timeout (here in milliseconds)"),
    ("/ttl_seconds", "--ttl (here in seconds)"),
    ("/keep_old_hours", "--keep-old"),
    ("/every_minutes", "--every (here in minutes)"),
    ("/max_disk_bytes", "--max-disk-gib (here in bytes)"),
    ("/contact_email", "--contact"),
    ("/takes_over_from", "--take-over-from"),
];

/// What a field of a request is called on the command line: as it is where no flag gives it.
fn flag_of(pointer: &str) -> String {
    if let Some((_, flag)) = FLAGS.iter().find(|(field, _)| *field == pointer) {
        return (*flag).to_owned();
    }
    let name = pointer.trim_start_matches('/').replace('_', "-");
    match is_flag(&Cli::command(), &name) {
        true => format!("--{name}"),
        false => pointer.to_owned(),
    }
}

fn is_flag(command: &clap::Command, name: &str) -> bool {
    let mut arguments = command.get_arguments();
    arguments.any(|argument| argument.get_long() == Some(name))
        || command.get_subcommands().any(|sub| is_flag(sub, name))
}

/// What helps against a refusal, by its code.
fn after_refusal(route: &Route, refusal: &Refusal, close: &[String]) -> Vec<String> {
    let mut next: Vec<String> = close
        .iter()
        .map(|name| format!("did you mean {name}?"))
        .collect();
    if let Some(proposal) = &refusal.proposal {
        next.push(format!("{proposal} would be accepted"));
    }
    let tenant = route.tenant();
    let detail = refusal.detail.as_deref().unwrap_or_default();
    let advice = match refusal.code.as_str() {
        "not-found" if close.is_empty() && refusal.detail.is_none() => list_of(&route.path).map(|list| format!("see what there is: `{list}`")),
        "operator-key-invalid" => Some("log in again: `tenantctl login --key-stdin < file`".to_owned()),
        "permission-missing" => Some(
            "use a key that has this scope; `tenantctl keys list` shows who has what".to_owned(),
        ),
        "tenant-deleted" if route.path.ends_with("/restore") || route.path.ends_with("/purge") => {
            tenant.map(|id| format!("what was destroyed: `tenantctl tenants certificate {id}`"))
        }
        "tenant-deleted" => tenant.map(|id| {
            format!("within its retention `tenantctl tenants restore {id}` brings it back")
        }),
        "confirmation-missing" if route.path.ends_with("/purge") => {
            Some("--force destroys it before its retention is over".to_owned())
        }
        "route-not-found" | "method-not-allowed" => Some(format!(
            "is the platform as new as this program, {}?",
            env!("CARGO_PKG_VERSION")
        )),
        "tenant-suspended" | "tenant-read-only" => {
            tenant.map(|id| format!("`tenantctl tenants resume {id}` lets it go on"))
        }
        "conflict" => operation_in(detail)
            .map(|id| format!("wait for it: `tenantctl operations watch {id}`")),
        "version-stale" | "if-match-missing" => {
            Some("somebody changed it meanwhile: look at it, then give the command again".to_owned())
        }
        "idempotency-key-in-progress" => Some("give the command again in a moment".to_owned()),
        "cluster-full" if route.path.ends_with("/tenants") => Some(
            "`tenantctl clusters list` shows regions, tiers, labels and room; ask for what one of them has, or add a cluster".to_owned(),
        ),
        "cluster-full" => Some("`tenantctl clusters list` shows the room; add a cluster or name another one with --to".to_owned()),
        "region-left" => Some("`tenantctl clusters list` shows the regions; choose a cluster of the tenant's own".to_owned()),
        "downgrade-refused" => Some("choose a cluster whose PostgreSQL is not older: `tenantctl clusters list`".to_owned()),
        "tools-missing" => Some("install the PostgreSQL client programs of that version on the platform's host, or set tools.bin_dir".to_owned()),
        "object-store-unavailable" => Some("look at the objects.* settings and at the room in the store, then give the command again".to_owned()),
        "archive-corrupt" if route.path.ends_with("/restore-backup") || route.path.ends_with("/clones") => Some(
            "use another backup: `tenantctl backups list`; `tenantctl backups verify` tries one".to_owned(),
        ),
        "archive-corrupt" => Some("fetch the archive again, or use another backup: `tenantctl backups list`".to_owned()),
        "rollout-halted" => Some("`tenantctl rollouts list` shows which one, and why".to_owned()),
        "rate-limited" | "overloaded" | "timeout" | "database-unavailable" | "platform-unavailable" => {
            Some("give the command again in a moment".to_owned())
        }
        "database-exhausted" => Some("make room on the database server, then give the command again".to_owned()),
        "not-ready" => Some("`tenantctl doctor` shows what is missing".to_owned()),
        "internal" => Some("search the platform's log for the request".to_owned()),
        _ => None,
    };
    next.extend(advice);
    if let Some(id) = operation_in(detail).filter(|_| refusal.code != "conflict") {
        next.push(format!(
            "see what happened: `tenantctl operations show {id}`"
        ));
    }
    next
}

/// What is refused, in a line: a path that names nothing is said as the thing that there is not.
fn refused(route: &Route, refusal: &Refusal) -> String {
    let thing = route.path.strip_prefix("/v1/").and_then(|path| {
        let mut parts = path.split('/');
        let noun = match parts.next()? {
            "tenants" => "tenant",
            "clusters" => "cluster",
            "operations" => "operation",
            "rollouts" => "roll-out",
            "backups" => "backup",
            "operator-keys" => "operator key",
            "tiers" => "tier",
            _ => return None,
        };
        Some(format!("There is no {noun} {}", parts.next()?))
    });
    // A detail says that something else is missing: the thing itself is there, or none is in the path.
    match (refusal.code.as_str(), &refusal.detail, thing) {
        ("not-found", None, Some(thing)) => thing,
        ("not-found", Some(detail), _) => detail.trim_end_matches('.').to_owned(),
        _ => refusal.title.clone(),
    }
}

/// The command that lists what a path names one of.
fn list_of(path: &str) -> Option<&'static str> {
    let noun = path.strip_prefix("/v1/")?.split('/').next()?;
    Some(match noun {
        "tenants" => "tenantctl tenants list",
        "clusters" => "tenantctl clusters list",
        "operations" => "tenantctl operations list",
        "rollouts" => "tenantctl rollouts list",
        "backups" => "tenantctl backups list",
        "findings" => "tenantctl findings list",
        "operator-keys" => "tenantctl keys list",
        _ => return None,
    })
}

/// The id of an operation that a text names.
fn operation_in(text: &str) -> Option<&str> {
    let start = text.find("op_")?;
    let id = text.get(start..start + 35)?;
    let (_, digits) = id.split_at(3);
    digits
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then_some(id)
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(code: contract::Code) -> Failure {
        Failure::Refused {
            route: Route::get("/v1/tenants/t_acme"),
            refusal: Box::new(Refusal {
                status: code.status(),
                code: code.as_str().to_owned(),
                ..Refusal::default()
            }),
            close: Vec::new(),
        }
    }

    #[test]
    fn exit_codes_are_those_that_scripts_know() {
        use contract::Code as C;
        for (code, exit) in [
            (C::ValidationFailed, 2),
            (C::IdMalformed, 2),
            (C::NotFound, 3),
            (C::TenantDeleted, 3),
            (C::OperatorKeyInvalid, 4),
            (C::PermissionMissing, 4),
            (C::Conflict, 5),
            (C::ConfirmationMissing, 5),
            (C::VersionStale, 5),
            (C::RateLimited, 6),
            (C::DatabaseUnavailable, 6),
            (C::Internal, 1),
        ] {
            assert_eq!(refused(code).exit(), exit, "{code:?}");
        }
        assert_eq!(Failure::NotInTime(Going::operation("op_1")).exit(), 6);
        assert_eq!(Failure::usage("").exit(), 2);
    }

    #[test]
    fn what_is_missing_is_named_and_not_what_the_path_begins_with() {
        let missing = |detail: Option<&str>| Failure::Refused {
            route: Route::get("/v1/tenants/t_acme/restore-backup"),
            refusal: Box::new(Refusal {
                code: "not-found".to_owned(),
                detail: detail.map(str::to_owned),
                ..Refusal::default()
            }),
            close: Vec::new(),
        };
        assert_eq!(missing(None).to_string(), "There is no tenant t_acme");
        let backup = missing(Some("There is no such backup."));
        assert_eq!(backup.to_string(), "There is no such backup");
        assert_eq!(backup.details(), Vec::<String>::new());
    }

    #[test]
    fn a_busy_subject_names_the_command_that_waits() {
        let id = contract::OperationId::new().to_string();
        assert_eq!(
            operation_in(&format!("The operation {id} (move) is under way.")),
            Some(id.as_str())
        );
        assert_eq!(operation_in("The op_erator"), None);
    }

    #[test]
    fn a_stuck_operation_says_how_it_goes_on() {
        let view = json!({"id": "op_1", "state": "stuck", "step": "drop"});
        let next = Failure::Operation(Box::new(view)).next();
        assert!(
            next.iter()
                .any(|line| line.contains("operations retry op_1")),
            "{next:?}"
        );
    }
}
