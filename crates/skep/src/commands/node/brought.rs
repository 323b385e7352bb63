//! A machine that somebody brought: finds out by itself what an infrastructure says of the machines it makes.

use std::{
    fs,
    io::Read as _,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use skep_agent::{
    config::{Host, Join},
    invitation::Invitation,
};
use skep_api::Code;
use skep_engine::{Engine, ImageRef, Lines};

use super::refused;
use crate::{
    error::{Error, Result},
    exit::Exit,
};

/// Directory for everything of the node.
const STATE: &str = "/var/lib/skep";
/// The invitation that this machine has followed: the next start needs none.
const KEPT: &str = "invitation";
/// Longest text read.
const LONGEST: u64 = 1 << 20;

/// What the agent is told on this machine. `from` is a file, `-` for standard input, nothing for the one followed before.
///
/// # Errors
/// The invitation cannot be used, or this machine cannot be a node.
pub async fn prepare(from: Option<&Path>) -> Result<(Join, Host)> {
    let user = nix::unistd::geteuid();
    if !user.is_root() {
        return Err(refused(skep_agent::Error::NotRoot { user: user.as_raw() }));
    }
    let kept = Path::new(STATE).join(KEPT);
    let before = match fs::read_to_string(&kept) {
        Ok(text) => Some(Invitation::parse(&text).map_err(refused)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(Error::file(&kept, error)),
    };
    let invitation = match (from, &before) {
        (Some(from), _) => Invitation::parse(&text(from)?).map_err(refused)?,
        (None, Some(before)) => before.clone(),
        (None, None) => {
            let what = "this machine was never invited: run the line that `skep node join` prints";
            return Err(Error::new(Code::new(8115), Exit::Usage, what));
        }
    };
    if let Some(before) = before.as_ref().filter(|before| before.uid != invitation.uid) {
        let what = format!(
            "this machine is node {} already; end its agent and remove {STATE} before it becomes {}",
            before.join.node, invitation.join.node
        );
        return Err(Error::new(Code::new(8116), Exit::Refused, what));
    }
    if before.is_none() {
        skep_agent::welcome(&invitation.join).await.map_err(refused)?;
    }
    let host = host(&invitation).await?;
    if before.as_ref() != Some(&invitation) {
        keep(&kept, &invitation)?;
        // Invited once more: that its node is not there now is no reason to go.
        skep_agent::invited_again(Path::new(STATE)).map_err(refused)?;
    }
    Ok((invitation.join, host))
}

fn text(from: &Path) -> Result<String> {
    let mut text = String::new();
    let read = if from == Path::new("-") {
        std::io::stdin().take(LONGEST).read_to_string(&mut text)
    } else {
        fs::File::open(from).and_then(|file| file.take(LONGEST).read_to_string(&mut text))
    };
    read.map_err(|error| Error::file(from, error))?;
    Ok(text)
}

async fn host(invitation: &Invitation) -> Result<Host> {
    let join = &invitation.join;
    let (address, interface) = way_to(&join.cluster.server)?;
    let version = join.template.version.clone().unwrap_or_default();
    let engine = Engine::from_env()?;
    Ok(Host {
        address,
        interface,
        provider_id: invitation.provider_id.clone(),
        state: PathBuf::from(STATE),
        cgroup_root: "/".to_owned(),
        shared: false,
        brought: true,
        kubernetes: programs(&engine, &skep_engine::node_image(&version)?).await?,
        containerd: programs(&engine, &skep_engine::containerd_image()).await?,
        cni: programs(&engine, &skep_engine::cni_image()).await?,
    })
}

async fn programs(engine: &Engine, image: &ImageRef) -> Result<PathBuf> {
    Ok(engine.ensure(image, &Lines::stderr()).await?.bin_dir)
}

/// The address and the interface by which this machine reaches the gateway. Nothing is sent.
fn way_to(server: &str) -> Result<(Ipv4Addr, String)> {
    let failed = |why: String| {
        Error::new(
            Code::new(8117),
            Exit::Failure,
            format!("this machine has no way to the gateway {server}: {why}"),
        )
    };
    let authority = server.strip_prefix("https://").unwrap_or(server).trim_end_matches('/');
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(|error| failed(error.to_string()))?;
    socket.connect(authority).map_err(|error| failed(error.to_string()))?;
    let address = match socket.local_addr().map_err(|error| failed(error.to_string()))?.ip() {
        IpAddr::V4(address) if address.is_loopback() => {
            let why = "it is an address of this machine itself; start the installation with a gateway that others reach";
            return Err(failed(why.to_owned()));
        }
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => return Err(failed("nodes need IPv4".to_owned())),
    };
    let interfaces = nix::ifaddrs::getifaddrs().map_err(|error| failed(error.to_string()))?;
    let has = |interface: &nix::ifaddrs::InterfaceAddress| {
        let own = interface.address.as_ref().and_then(|own| own.as_sockaddr_in().map(|own| own.ip()));
        own == Some(address)
    };
    let interface = interfaces.into_iter().find(has).map(|interface| interface.interface_name);
    Ok((address, interface.ok_or_else(|| failed(format!("no interface has {address}")))?))
}

/// Written before anything is started, readable by root only: it holds the token.
fn keep(path: &Path, invitation: &Invitation) -> Result<()> {
    let text = invitation.to_text().map_err(refused)?;
    let wrong = |error| Error::file(path, error);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(STATE).map_err(wrong)?;
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(wrong)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).and_then(|()| file.sync_all()).map_err(wrong)?;
    fs::rename(&new, path).map_err(wrong)
}
