//! Builds the crate anew when a migration file is added; edits are noticed without it.
//!
//! Deliberately nothing else. Invariant: every folder that `src/reference.rs` embeds is named here.
fn main() {
    println!("cargo::rerun-if-changed=reference");
}
