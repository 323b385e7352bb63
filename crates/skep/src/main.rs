//! `skep`: everything in one binary. `skep --help` says what it can do.
//!
//! stdout is for data, stderr for people. Exit codes are in [`exit`].

mod cli;
mod commands;
mod error;
mod exit;
mod hub;
mod logging;
mod output;
mod runtime;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => {
            error.print();
            error.exit.into()
        }
    }
}
