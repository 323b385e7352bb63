//! What is left in the zones, from a file that whoever knows it keeps up to date.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use skep_agent::quantity;
use skep_plan::expander::{Hypervisor, Stock};
use tokio::io::AsyncReadExt as _;

use crate::Error;

/// Bytes of the file: some ten thousand hypervisors.
const MOST: u64 = 1 << 20;

/// Where the file is. It is read for every decision, so that it may change at any time.
#[derive(Clone, Debug)]
pub struct StockFile(PathBuf);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    zones: BTreeMap<String, Vec<Host>>,
}

/// One hypervisor.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Host {
    /// For people.
    #[serde(default, rename = "name")]
    _name: String,
    free_cpu: String,
    free_memory: String,
}

impl StockFile {
    /// A file that can be read now.
    ///
    /// # Errors
    /// It cannot.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let file = Self(path.to_owned());
        file.read().await?;
        Ok(file)
    }

    pub(super) async fn read(&self) -> Result<Stock, Error> {
        let failed = |reason: String| Error::Stock { path: self.0.clone(), reason };
        let file = tokio::fs::File::open(&self.0).await.map_err(|error| failed(error.to_string()))?;
        let mut text = String::new();
        file.take(MOST + 1).read_to_string(&mut text).await.map_err(|error| failed(error.to_string()))?;
        if u64::try_from(text.len()).unwrap_or(u64::MAX) > MOST {
            return Err(failed(format!("it has more than {MOST} bytes")));
        }
        parse(&text).map_err(failed)
    }
}

fn parse(text: &str) -> Result<Stock, String> {
    let contents: Contents = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let host = |host: &Host| {
        let bad = |field: &str, text: &str| format!("{field} {text:?} is no quantity");
        Ok(Hypervisor {
            milli_cpu: quantity::milli(&host.free_cpu).ok_or_else(|| bad("freeCpu", &host.free_cpu))?,
            memory: quantity::units(&host.free_memory).ok_or_else(|| bad("freeMemory", &host.free_memory))?,
        })
    };
    let zones = contents.zones.iter();
    zones
        .map(|(zone, hosts)| Ok((zone.clone(), hosts.iter().map(host).collect::<Result<_, String>>()?)))
        .collect::<Result<_, String>>()
        .map(Stock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_is_free_where() {
        let text = "zones:\n  a:\n  - {name: hv1, freeCpu: \"12\", freeMemory: 64Gi}\n  - {freeCpu: 500m, freeMemory: 1Gi}\n  b: []\n";
        let stock = parse(text).unwrap().0;
        assert_eq!(stock["a"][0], Hypervisor { milli_cpu: 12_000, memory: 64 << 30 });
        assert_eq!((stock["a"].len(), stock["b"].len()), (2, 0));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("zones:\n  a: [{freeCpu: many, freeMemory: 1Gi}]\n", "\"many\""),
            ("zones:\n  a: [{freeCpu: \"1\"}]\n", "freeMemory"),
            ("zone: {}\n", "zone"),
            ("- 1\n", ""),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_or_too_large_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stock.yaml");
        assert!(StockFile::open(&path).await.is_err());
        let large = usize::try_from(MOST).unwrap() + 1;
        std::fs::write(&path, "#".repeat(large)).unwrap();
        assert!(StockFile::open(&path).await.unwrap_err().to_string().contains("1048576 bytes"));
    }
}
