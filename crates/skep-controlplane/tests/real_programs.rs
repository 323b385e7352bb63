//! The manifests, keys and files of a control plane, run as real upstream programs without a kubelet in between.
//!
//! Proves what no golden file can: upstream takes every flag and every file as it is written, the three programs find
//! each other with the certificates they got, and what is promised about them is so.

// Helpers of tests may fail loudly; the lint only exempts the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{Api, PostParams};
use kube::{Client, Config};
use skep_testkit::PATIENCE;

#[path = "real_programs/bed.rs"]
mod bed;
#[path = "real_programs/gateway.rs"]
mod gateway;
#[path = "real_programs/inside.rs"]
mod inside;
#[path = "real_programs/tunnel.rs"]
mod tunnel;

use bed::Bed;

#[tokio::test(flavor = "multi_thread")]
async fn newest_version() -> Result<()> {
    works("v1.36.3").await
}

#[tokio::test(flavor = "multi_thread")]
async fn version_before() -> Result<()> {
    works("v1.35.4").await
}

async fn works(version: &str) -> Result<()> {
    let mut bed = Bed::start(version, |_| {}).await?;
    bed.run_all()?;
    let admin = bed.admin().await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), "default");
    bed.wait("the default service account", || async {
        accounts.get_opt("default").await.is_ok_and(|account| account.is_some())
    })
    .await?;
    let info = admin.apiserver_version().await?;
    ensure!(info.git_version == version, "{} instead of {version}", info.git_version);
    only_health_is_open_to_strangers(&bed).await?;
    tokens_are_signed_and_believed(&bed, &admin).await?;
    secrets_are_encrypted_in_the_store(&bed, &admin).await?;
    tunnel::the_network_of_a_cluster_without_nodes_fails_by_name(&admin).await?;
    tunnel::a_node_that_is_connected_is_reached(&bed, &admin).await?;
    the_controllers_are_healthy(&bed).await?;
    bed.stop_in_time().await
}

async fn only_health_is_open_to_strangers(bed: &Bed) -> Result<()> {
    let stranger = Client::try_from(bed.stranger()?)?;
    for path in ["/livez", "/readyz", "/healthz"] {
        // It takes calls before it is ready.
        bed.wait(path, || async { text(&stranger, path).await.is_ok_and(|answer| answer.trim() == "ok") })
            .await?;
    }
    for path in ["/version", "/api", "/api/v1/namespaces", "/metrics"] {
        match text(&stranger, path).await {
            Err(kube::Error::Api(status)) if status.code == 401 => {}
            other => bail!("{path} answers a stranger: {other:?}"),
        }
    }
    Ok(())
}

async fn tokens_are_signed_and_believed(bed: &Bed, admin: &Client) -> Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), "default");
    let request = TokenRequest {
        spec: TokenRequestSpec { expiration_seconds: Some(600), ..TokenRequestSpec::default() },
        ..TokenRequest::default()
    };
    let answer = accounts.create_token_request("default", &PostParams::default(), &request).await?;
    let mut config: Config = bed.stranger()?;
    config.auth_info.token = Some(answer.status.context("no token")?.token.into());
    let reviews: Api<SelfSubjectReview> = Api::all(Client::try_from(config)?);
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await?;
    let user = review.status.and_then(|s| s.user_info).and_then(|u| u.username);
    ensure!(user.as_deref() == Some("system:serviceaccount:default:default"), "{user:?}");
    Ok(())
}

async fn secrets_are_encrypted_in_the_store(bed: &Bed, admin: &Client) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(admin.clone(), "default");
    let mut secret =
        Secret { string_data: Some([("a".into(), "plain-to-see".into())].into()), ..Secret::default() };
    secret.metadata.name = Some("probe".into());
    secrets.create(&PostParams::default(), &secret).await?;
    let raw = bed.stored("/secrets/default/probe")?;
    ensure!(raw.contains("k8s:enc:secretbox:v1:") && !raw.contains("plain-to-see"), "{raw}");
    Ok(())
}

async fn the_controllers_are_healthy(bed: &Bed) -> Result<()> {
    for port in [10_257, 10_259] {
        let client = Client::try_from(bed.stranger_at(port)?)?;
        let healthy =
            || async { text(&client, "/healthz").await.is_ok_and(|answer| answer.starts_with("ok")) };
        bed.wait(&format!("health at port {port}"), healthy).await?;
    }
    Ok(())
}

/// What a person reads when a flag is wrong comes from the program's own last words.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_flag_is_named_by_the_program() -> Result<()> {
    let wrong = skep_api::resources::Flag { name: "no-such-flag".into(), value: "1".into() };
    let mut bed = Bed::start("v1.36.3", |spec| spec.api_server.flags.push(wrong)).await?;
    bed.run_all()?;
    let words = bed.last_words("kube-apiserver", PATIENCE).await?;
    ensure!(words.contains("unknown flag: --no-such-flag"), "{words}");
    Ok(())
}

async fn text(client: &Client, path: &str) -> kube::Result<String> {
    client.request_text(http::Request::get(path).body(Vec::new()).unwrap()).await
}
