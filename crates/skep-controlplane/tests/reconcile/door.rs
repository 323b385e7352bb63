//! The gateway's door for API servers that cannot be told a server name.

use std::collections::BTreeMap;

use anyhow::Result;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use skep_pki::{Inspected, issued_by};

use crate::cell::{Cell, control_plane, ready};

fn texts(secret: &Value) -> BTreeMap<String, String> {
    let secret: Secret = serde_json::from_value(secret.clone()).unwrap();
    let text = |(key, bytes): (String, k8s_openapi::ByteString)| (key, String::from_utf8(bytes.0).unwrap());
    secret.data.unwrap_or_default().into_iter().map(text).collect()
}

/// What the API server of the tenant reads.
fn api_server(cell: &Cell) -> (BTreeMap<String, String>, String) {
    let secret =
        cell.objects("secrets").into_iter().find(|s| s["metadata"]["name"] == "kube-apiserver").unwrap();
    let deployments = cell.objects("deployments.apps");
    let args = &deployments[0]["spec"]["template"]["spec"]["containers"][0]["args"];
    let flag = args.as_array().unwrap().iter().filter_map(Value::as_str);
    let flag =
        flag.filter_map(|arg| arg.strip_prefix("--egress-selector-config-file=/etc/kubernetes/config/"));
    (texts(&secret), flag.map(str::to_owned).next().unwrap())
}

#[tokio::test]
async fn an_older_version_gets_a_door_and_an_upgrade_leaves_it() -> Result<()> {
    let cell = Cell::new()?;
    cell.create(&control_plane(|_| {})).await?;
    cell.fresh_pass().await?;
    let of_cell = cell.secrets_of_the_cell();
    assert_eq!(of_cell.keys().collect::<Vec<_>>(), ["tunnel-door", "tunnel-door-authority"]);
    let (door, authority) = (texts(&of_cell["tunnel-door"]), texts(&of_cell["tunnel-door-authority"]));
    assert_eq!(door.keys().collect::<Vec<_>>(), ["server.crt", "server.key"], "the gateway can sign nothing");
    let shown = Inspected::parse(&door["server.crt"])?;
    assert_eq!(shown.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["127.0.0.1"]);
    assert!(shown.for_server && !shown.for_client && issued_by(&door["server.crt"], &authority["ca.crt"])?);
    let (files, egress) = api_server(&cell);
    assert_eq!(
        (egress.as_str(), &files["tunnel-door-ca.crt"]),
        ("egress-by-door.yaml", &authority["ca.crt"])
    );

    cell.change(|spec| {
        spec["version"] = json!("v1.36.3");
        spec["image"] = json!("skep.dev/kube:v1.36.3");
    });
    cell.run_pods(&ready).await?;
    cell.fresh_pass().await?;
    let (files, egress) = api_server(&cell);
    assert_eq!(egress, "egress.yaml");
    assert!(files.contains_key("tunnel-door-ca.crt"), "for old API servers that start once more");
    Ok(())
}

#[tokio::test]
async fn a_door_is_made_once_and_a_lost_one_comes_back() -> Result<()> {
    let cell = Cell::new()?;
    cell.create(&control_plane(|_| {})).await?;
    cell.fresh_pass().await?;
    let first = cell.secrets_of_the_cell();
    cell.fresh_pass().await?;
    assert_eq!(cell.secrets_of_the_cell(), first);
    let api: kube::Api<Secret> = kube::Api::namespaced(cell.fake.client(), skep_api::SYSTEM_NAMESPACE);
    api.delete("tunnel-door", &Default::default()).await?;
    cell.fresh_pass().await?;
    let (old, new) = (texts(&first["tunnel-door-authority"]), cell.secrets_of_the_cell());
    assert!(
        issued_by(&texts(&new["tunnel-door"])["server.crt"], &old["ca.crt"])?,
        "nobody has to be replaced"
    );
    Ok(())
}

#[tokio::test]
async fn newer_versions_need_none() -> Result<()> {
    let cell = Cell::new()?;
    let object = control_plane(|spec| {
        spec.version = "v1.36.3".into();
        spec.image = "skep.dev/kube:v1.36.3".into();
    });
    cell.create(&object).await?;
    cell.fresh_pass().await?;
    assert!(cell.secrets_of_the_cell().is_empty());
    Ok(())
}
