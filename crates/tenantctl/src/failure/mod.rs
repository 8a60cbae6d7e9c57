//! What can go wrong, with its words, what to do next, and the exit code.
//!
//! Deliberately without the words that belong to one problem code or one kind of thing: `advice` and
//! `noun` have those. Invariant: the exit codes are an interface: 0 done, 1 failed, 2 wrong use, 3 not
//! found, 4 not allowed, 5 conflict, 6 not ready in time, 130 interrupted.

mod advice;
mod flags;
mod noun;
mod refusal;

use std::path::{Path, PathBuf};

use contract::Code;
use serde_json::Value;

use crate::api::Route;
pub(crate) use refusal::Refusal;

/// Something failed that no other code names.
pub(crate) const FAILED: u8 = 1;
/// The command or the request is wrong.
pub(crate) const USAGE: u8 = 2;
const NOT_FOUND: u8 = 3;
const NOT_ALLOWED: u8 = 4;
const CONFLICT: u8 = 5;
const NOT_READY: u8 = 6;
pub(crate) const INTERRUPTED: u8 = 130;

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(
        "the command line contains an operator key, where other processes and the shell history can read it"
    )]
    KeyOnCommandLine,
    /// The command says something that cannot be done.
    #[error("{what}")]
    Usage { what: String, next: Vec<String> },
    /// The profile's file, or what it says.
    #[error("{what}")]
    Profile { what: String, next: Vec<String> },
    #[error("{}", noun::refused(.route, .refusal))]
    Refused {
        route: Route,
        refusal: Box<Refusal>,
        /// Names that come close to the one that is not known.
        close: Vec<String>,
    },
    #[error("{server} does not answer")]
    Unreachable {
        server: String,
        #[source]
        source: reqwest::Error,
    },
    /// What it was asked for may go on all the same; a command shows that.
    #[error("{}", .0)]
    PerhapsBegun(Box<Self>, &'static str),
    #[error("{server} answered {status}, but not like a platform-service")]
    Strange { server: String, status: u16 },
    #[error("the operation {} failed", text(.0, "/id"))]
    Operation(Box<Value>),
    #[error("timed out waiting for the {} {}; it is still running", .0.what, .0.id)]
    NotInTime(Going),
    #[error("the platform stopped answering; the {} {} is still running", .0.what, .0.id)]
    OutOfSight(Going, #[source] Box<Failure>),
    #[error("the change is made, but not every replica has applied it in time")]
    Unheard,
    #[error("interrupted; the {} {} is still running", .0.what, .0.id)]
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
    /// The same with one more thing to do, of failures that say so themselves.
    pub(crate) fn advising(mut self, step: String) -> Self {
        if let Self::Usage { next, .. } | Self::Profile { next, .. } = &mut self {
            next.push(step);
        }
        self
    }

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
            refusal: Box::new(Refusal::of(Code::NotFound)),
            close: Vec::new(),
        }
    }

    /// The same, about what this path names: where the request named it in its body.
    pub(crate) fn about(mut self, path: &str) -> Self {
        if let Self::Refused { route, .. } = &mut self {
            *route = Route::new(route.method.clone(), path);
        }
        self
    }

    /// The same, with the command that shows whether it was begun: where no answer says so.
    pub(crate) fn perhaps_begun(self, look: &'static str) -> Self {
        match self {
            Self::Unreachable { .. } => Self::PerhapsBegun(Box::new(self), look),
            other => other,
        }
    }

    /// Whether the platform refused with this code.
    pub(crate) fn has_code(&self, code: Code) -> bool {
        matches!(self, Self::Refused { refusal, .. } if refusal.is(code))
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
            | Self::PerhapsBegun(..)
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
            Self::Unreachable { .. } | Self::PerhapsBegun(..) | Self::OutOfSight(..) => {
                "unreachable".to_owned()
            }
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
                    .map(|field| format!("{} {}", flags::flag_of(&field.pointer), field.detail));
                let detail = refusal
                    .detail
                    .iter()
                    .filter(|_| !refusal.is(Code::NotFound));
                detail.cloned().chain(fields).collect()
            }
            Self::Operation(view) => {
                let step = text(view, "/step");
                let reason = match text(view, "/failure/detail") {
                    "" => "no reason was recorded",
                    detail => detail,
                };
                let left = match text(view, "/state") {
                    "stuck" => "It is stuck: it can neither continue nor be undone without help.",
                    _ => "What it had done was undone.",
                };
                vec![format!("step {step}: {reason}"), left.to_owned()]
            }
            Self::Unreachable { source, .. } => vec![chain(source)],
            Self::PerhapsBegun(failure, _) => failure.details(),
            Self::File(_, _, source) | Self::Io(_, source) => vec![source.to_string()],
            _ => Vec::new(),
        }
    }

    /// What to do about it.
    pub(crate) fn next(&self) -> Vec<String> {
        match self {
            Self::KeyOnCommandLine => vec![
                "revoke that key with `tenantctl keys revoke opr_...`".to_owned(),
                "save a key with `tenantctl login --key-stdin < file`, or set TENANTCTL_KEY".to_owned(),
            ],
            Self::Usage { next, .. } | Self::Profile { next, .. } | Self::Found { next, .. } => {
                next.clone()
            }
            Self::Refused {
                route,
                refusal,
                close,
            } => advice::after(route, refusal, close),
            Self::Unreachable { .. } => vec![
                "check the address (--url, TENANTCTL_URL or `tenantctl profiles`), and that platform-service is running"
                    .to_owned(),
            ],
            Self::PerhapsBegun(failure, look) => {
                let look = format!("it may have begun all the same: see with `{look}`");
                failure.next().into_iter().chain([look]).collect()
            }
            Self::Strange { .. } => vec![
                "check that the address is the public listener of platform-service".to_owned(),
            ],
            Self::Operation(view) => {
                let id = text(view, "/id");
                match text(view, "/state") {
                    "stuck" => vec![
                        format!("see what happened with `tenantctl operations show {id}`"),
                        format!("fix the cause, then run `tenantctl operations retry {id}`"),
                    ],
                    _ => vec![
                        format!("see what happened with `tenantctl operations show {id}`"),
                        "fix the cause, then run the command again".to_owned(),
                    ],
                }
            }
            Self::NotInTime(going) | Self::OutOfSight(going, _) | Self::LeftRunning(going) => vec![format!(
                "follow it with `tenantctl {} {}`",
                going.command, going.id
            )],
            Self::Unheard => vec![
                "see which one with `tenantctl replicas list`, and check that it can reach the platform"
                    .to_owned(),
            ],
            Self::Interrupted | Self::NotConfirmed | Self::File(..) | Self::Io(..)
            | Self::OutputClosed => Vec::new(),
        }
    }
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
mod tests;
