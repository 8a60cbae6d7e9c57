//! What a service that crashes leaves behind: no copy of its memory, which holds secrets.
//!
//! Deliberately not the rest of what an operating system can be told of a process. Invariant: comes before
//! anything secret is read.

use nix::sys::resource::{Resource, setrlimit};

/// No core file of this process, nor of those that it starts. On Linux its memory is also hidden from the programs
/// to which the kernel pipes cores whatever the limit is, and from other processes of the same user.
///
/// # Errors
/// The system's refusal, which is not to be expected: anybody may lower a limit.
pub fn forbid() -> nix::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_dumpable(false)?;
    Ok(())
}
