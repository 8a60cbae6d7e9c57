//! `cargo up`: PostgreSQL, both services and demo tenants on this machine, with one command.
//!
//! Deliberately nothing that production needs: there the services are programs of their own.
//! Invariant: what is shown here is the services as they are, reached as anybody reaches them.

mod announce;
mod api;
mod arguments;
mod credentials;
mod database;
mod demo;
mod folder;
mod front;
mod gates;
mod load;
mod reach;
mod services;
mod stack;
mod tour;

use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::{Arguments, Command};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        None => stack::up(&arguments).await,
        Some(Command::Tour) => tour::run(&arguments).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => announce::failure(&error),
    }
}
