//! Reading everything of a kind as it is now, where what a watch has seen may be too old.

use kube::{Api, api::ListParams};
use serde::de::DeserializeOwned;

use crate::{Error, Object, Result, watch::Guard};

/// Objects of one page. A page of any kind comes within the time limit of one call; thousands of objects need not.
const PAGE: u32 = 500;

/// All objects that a selector names, as of one moment. Also those that cannot be read: whoever counts must know of them.
///
/// # Errors
/// [`Error::Api`]; the moment may be too long ago for the API server when pages were slow to come.
pub async fn list_all<K>(api: &Api<Guard<K>>, selector: &str) -> Result<Vec<Guard<K>>>
where
    K: Object,
    Guard<K>: Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut found = Vec::new();
    let mut params = ListParams::default().limit(PAGE).labels(selector);
    loop {
        let page = api.list(&params).await.map_err(|error| Error::api::<K>("list", selector, error))?;
        found.extend(page.items);
        match page.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => params = params.continue_token(&next),
            None => return Ok(found),
        }
    }
}
