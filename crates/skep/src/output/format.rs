//! `-o`: the forms in which objects can be had.

use clap::ValueEnum;
use serde::Serialize;

use super::{print, table::Table};
use crate::error::{Error, Result, code};

/// Form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table with the usual columns.
    #[default]
    Table,
    /// A table with all columns.
    Wide,
    /// JSON, complete.
    Json,
    /// YAML, complete.
    Yaml,
    /// One `kind/name` per line.
    Name,
}

/// Something that has all forms.
pub trait Show {
    /// The document behind `json` and `yaml`.
    fn document(&self) -> Result<serde_json::Value>;
    /// The table; `wide` asks for all columns.
    fn table(&self, wide: bool) -> Table;
    /// The names behind `name`.
    fn names(&self) -> Vec<String>;
    /// What is said instead of an empty table.
    fn empty(&self) -> String;
}

/// Prints it in the form that was asked for.
pub fn show(what: &impl Show, format: Format) -> Result<()> {
    match format {
        Format::Json => print(&json(&what.document()?)?),
        Format::Yaml => print(&yaml(&what.document()?)?),
        Format::Name => print(&what.names().iter().map(|name| format!("{name}\n")).collect::<String>()),
        Format::Table | Format::Wide => {
            let table = what.table(format == Format::Wide);
            if table.is_empty() {
                // stdout stays empty for scripts.
                super::note(&what.empty());
                return Ok(());
            }
            print(&table.render())
        }
    }
}

/// As JSON with a line end.
pub fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(unwritable)
}

/// As YAML.
pub fn yaml(value: &impl Serialize) -> Result<String> {
    serde_saphyr::to_string(value).map_err(unwritable)
}

fn unwritable(error: impl std::fmt::Display) -> Error {
    Error::new(code::API, crate::exit::Exit::Failure, format!("the object cannot be written: {error}"))
}
