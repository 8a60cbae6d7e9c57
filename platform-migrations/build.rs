//! Builds the crate anew when a migration is added: the macro that embeds the folder only notices
//! edits of files that it has seen.

fn main() {
    println!("cargo::rerun-if-changed=sql");
}
