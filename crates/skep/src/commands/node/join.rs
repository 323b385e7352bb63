//! `skep node join`: prints the one line that makes a node of a machine that somebody has.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, api::PostParams, runtime::wait::await_condition};
use serde_json::json;
use skep_agent::invitation::Invitation;
use skep_api::{Code, Machine, MachineClass, Provider, condition, condition::ConditionType};
use skep_embedded::part::invitations::{KEY, secret_name};

use crate::{
    cli::{Global, part::Join},
    error::{self, Error, Result, code},
    exit::Exit,
    hub, output,
};

/// For the operator to answer: it makes a token and writes it down.
const PATIENCE: Duration = Duration::from_secs(30);

/// Prints the line; makes the `Machine` first if there is none of this name.
///
/// # Errors
/// The machine is no static one or has joined, or its cluster does not serve.
pub async fn run(global: &Global, args: &Join) -> Result<()> {
    let client = hub::client(global).await?;
    let machine = match find(&client, args).await? {
        Some(machine) => machine,
        None => create(&client, args).await?,
    };
    check(&client, &machine, args).await?;
    let text = invitation(&client, args, machine.metadata.uid.as_deref()).await?;
    let invitation = Invitation::parse(&text).map_err(super::refused)?;
    output::note(&format!(
        "run this on the machine, as somebody who may become root; it needs skep, runc, nftables, conntrack and iproute2, and \
         reaches {}. The line holds a token that is good for this one machine: do not show it",
        invitation.join.cluster.server
    ));
    output::print(&format!("echo '{}' | sudo skep node agent --service --join -\n", text.trim()))
}

async fn find(client: &Client, args: &Join) -> Result<Option<Machine>> {
    let api: Api<Machine> = Api::namespaced(client.clone(), &args.named.project);
    api.get_opt(&args.named.name).await.map_err(|error| error::api(&what(args), &error))
}

fn what(args: &Join) -> String {
    format!("machine {}/{}", args.named.project, args.named.name)
}

async fn create(client: &Client, args: &Join) -> Result<Machine> {
    let (Some(cluster), Some(class)) = (&args.cluster, &args.class) else {
        let message = format!("there is no {}", what(args));
        return Err(Error::new(code::NOT_FOUND, Exit::NotFound, message)
            .help("name --cluster and --class to make it, or see `skep get machines`"));
    };
    let class = self::class(client, class).await?;
    let zone = args.zone.clone().or_else(|| class.spec.zones.first().cloned()).unwrap_or_default();
    let machine = json!({
        "apiVersion": "skep.dev/v1alpha1", "kind": "Machine", "metadata": {"name": args.named.name},
        "spec": {"cluster": cluster, "zone": zone, "template": {"machineClass": class.metadata.name}},
    });
    let machine: Machine =
        serde_json::from_value(machine).map_err(|error| Error::new(code::INVALID, Exit::Usage, error))?;
    let api: Api<Machine> = Api::namespaced(client.clone(), &args.named.project);
    api.create(&PostParams::default(), &machine).await.map_err(|error| error::api(&what(args), &error))
}

async fn class(client: &Client, name: &str) -> Result<MachineClass> {
    let api: Api<MachineClass> = Api::all(client.clone());
    api.get(name).await.map_err(|error| error::api(&format!("machine class {name}"), &error))
}

/// Machines of other infrastructures join by themselves.
async fn check(client: &Client, machine: &Machine, args: &Join) -> Result<()> {
    let class = class(client, &machine.spec.template.machine_class).await?;
    if class.spec.provider == Provider::Static {
        return Ok(());
    }
    let message =
        format!("{} is made by the infrastructure {} and joins by itself", what(args), class.spec.provider);
    Err(Error::new(Code::new(8118), Exit::Refused, message)
        .help("only machines of a class with provider Static are brought"))
}

/// The text of the machine's own invitation, once the operator has written it.
async fn invitation(client: &Client, args: &Join, uid: Option<&str>) -> Result<String> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &args.named.project);
    let own = |secret: &Secret| {
        let label = secret.metadata.labels.as_ref().and_then(|labels| labels.get("skep.dev/machine-uid"));
        label.map(String::as_str) == uid && uid.is_some()
    };
    let ready = |secret: Option<&Secret>| secret.is_some_and(own);
    let name = secret_name(&args.named.name);
    let found = tokio::time::timeout(PATIENCE, await_condition(api, &name, ready)).await;
    let secret = match found {
        Ok(Ok(Some(secret))) => secret,
        Ok(Err(error)) => return Err(Error::new(code::API, Exit::Failure, error)),
        Ok(Ok(None)) | Err(_) => {
            let says = find(client, args).await?.and_then(|machine| {
                let status = machine.status?;
                Some(condition::get(&status.conditions, ConditionType::Ready)?.message.clone())
            });
            let says = says.unwrap_or_else(|| "the operator has not looked at it".to_owned());
            let message = format!("{} has no invitation yet: {says}", what(args));
            return Err(Error::new(code::TIMEOUT, Exit::Timeout, message));
        }
    };
    let text =
        secret.data.as_ref().and_then(|data| data.get(KEY)).map(|text| text.0.clone()).unwrap_or_default();
    String::from_utf8(text).map_err(|error| Error::new(code::API, Exit::Failure, error))
}
