//! What commands print: tables and documents on stdout, progress on stderr.

pub mod age;
pub mod format;
pub mod progress;
pub mod style;
pub mod table;

use std::io::{ErrorKind, Write};

use crate::error::{Error, Result};

/// Writes data to stdout. A reader that went away (`| head`) is not an error.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::file(std::path::Path::new("stdout"), error))
        }
        _ => Ok(()),
    }
}

/// A line for people on stderr.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
