//! Certificate requests in a tenant: who gets one, who does not, and who is left to a person. What a request may say is
//! tested where it is judged; here it is who asks.

use serde_json::{Value, json};

use crate::kubelets::{self, csr};
use crate::world::World;

fn request(world: &World, name: &str) -> Value {
    let all = world.fake.objects("certificatesigningrequests.certificates.k8s.io");
    all.into_iter().find(|csr| csr["metadata"]["name"] == name).unwrap()
}

async fn decided(world: &World, planted: Value) -> String {
    let name = planted["metadata"]["name"].as_str().unwrap().to_owned();
    world.fake.plant(planted);
    world.pass(&world.reconcilers(world.fake.client())).await.unwrap();
    let condition = request(world, &name)["status"]["conditions"][0].clone();
    match condition["type"].as_str() {
        Some(type_) => format!(
            "{type_} {}: {}",
            condition["reason"].as_str().unwrap(),
            condition["message"].as_str().unwrap()
        ),
        None => "open".to_owned(),
    }
}

const NODE: [&str; 2] = ["system:nodes", "system:authenticated"];

#[tokio::test(start_paused = true)]
async fn a_node_renews_its_own_and_nobody_elses() {
    let world = World::running(2).await;
    let names = world.names();
    let user = format!("system:node:{}", names[0]);
    let said = decided(&world, csr("own", &user, json!(NODE), &names[0])).await;
    assert!(said.starts_with("Approved Machine: ") && said.contains("renews"), "{said}");
    let said = decided(&world, csr("other", &user, json!(NODE), &names[1])).await;
    assert!(said.starts_with("Denied OtherName: ") && said.contains("SKEP-8062"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_token_is_good_for_its_own_machine_only() {
    let world = World::with_pool(2).await;
    // Made, but nobody has joined.
    for _ in 0..3 {
        world.pass(&world.reconcilers(world.fake.client())).await.unwrap();
    }
    let names = world.names();
    let token = world.provider.machines()[&names[0]].order.join.token.clone();
    let user = format!("system:bootstrap:{}", token.split('.').next().unwrap());
    let groups = json!(["system:bootstrappers", "system:bootstrappers:skep"]);
    let said = decided(&world, csr("foreign", &user, groups.clone(), &names[1])).await;
    assert!(said.starts_with("Denied OtherName: "), "{said}");
    let said = decided(&world, csr("own", &user, groups, &names[0])).await;
    assert!(said.starts_with("Approved Machine: ") && said.contains("own token"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn strangers_are_left_to_people() {
    let world = World::running(1).await;
    let name = world.name();
    for (at, (user, groups)) in [
        ("kubernetes-admin", json!(["system:masters"])),
        ("system:bootstrap:abcdef", json!(["system:bootstrappers", "system:bootstrappers:skep"])),
        ("system:node:other", json!(NODE)),
        ("system:serviceaccount:kube-system:x", json!(["system:serviceaccounts"])),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(decided(&world, csr(&format!("csr-{at}"), user, groups, &name)).await, "open", "{user}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_who_decided_is_not_overruled() {
    let world = World::running(1).await;
    let name = world.name();
    let mut denied = csr("denied", &format!("system:node:{name}"), json!(NODE), &name);
    denied["status"] =
        json!({"conditions": [{"type": "Denied", "status": "True", "reason": "ByHand", "message": "no"}]});
    assert_eq!(decided(&world, denied).await, "Denied ByHand: no");
}

#[tokio::test(start_paused = true)]
async fn nodes_go_on_renewing_when_their_class_is_gone() {
    let world = World::running(1).await;
    let name = world.name();
    let classes: kube::Api<skep_api::MachineClass> = kube::Api::all(world.fake.client());
    classes.delete("local-small", &Default::default()).await.unwrap();
    let said = decided(&world, csr("own", &format!("system:node:{name}"), json!(NODE), &name)).await;
    assert!(said.starts_with("Approved"), "{said}");
    assert_eq!(world.machine()["status"]["phase"], "Ready", "what runs goes on");
    assert!(kubelets::node(&world.fake, &name).is_some());
}

/// Two ready nodes on machines that people have brought: nobody but the nodes themselves knows their addresses.
async fn brought() -> (World, [String; 2]) {
    let mut world = World::with_pool(2).await;
    world.provider.forget_addresses();
    world.settle().await.unwrap();
    let names = world.names().try_into().unwrap();
    (world, names)
}

fn reports(world: &World, name: &str, address: &str) {
    world.change_node(name, |node| node["status"]["addresses"][0]["address"] = json!(address));
}

fn address(world: &World, name: &str) -> Value {
    let machine = world.machines().into_iter().find(|machine| machine["metadata"]["name"] == name).unwrap();
    machine["status"]["address"].clone()
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_was_brought_serves_under_the_address_its_node_reports() {
    let (world, [name, other]) = brought().await;
    reports(&world, &name, "192.0.2.7");
    let said = decided(&world, kubelets::serving_csr("other", &name, "192.0.2.8")).await;
    assert!(said.starts_with("Denied OtherNames: ") && said.contains("192.0.2.8"), "{said}");
    let said = decided(&world, kubelets::serving_csr("own", &name, "192.0.2.7")).await;
    assert!(said.starts_with("Approved Machine: "), "{said}");
    assert_eq!(address(&world, &name), "192.0.2.7");
    // It moves to another network.
    reports(&world, &name, "192.0.2.77");
    let said = decided(&world, kubelets::serving_csr("moved", &name, "192.0.2.77")).await;
    assert!(said.starts_with("Approved Machine: "), "{said}");
    assert_eq!(address(&world, &name), "192.0.2.77");
    assert_ne!(address(&world, &other), "192.0.2.77");
}

#[tokio::test(start_paused = true)]
async fn nobody_serves_under_the_address_of_another_machine_or_of_the_api_server() {
    let (world, [name, other]) = brought().await;
    let (own, others) = (address(&world, &name), address(&world, &other));
    for (at, taken) in
        [others.as_str().unwrap(), "10.96.0.1", "198.18.0.1", "127.0.0.1"].into_iter().enumerate()
    {
        reports(&world, &name, taken);
        let said = decided(&world, kubelets::serving_csr(&format!("csr-{at}"), &name, taken)).await;
        assert!(said.starts_with("Denied OtherNames: "), "{taken}: {said}");
        assert_eq!(address(&world, &name), own);
        let machine =
            world.machines().into_iter().find(|one| one["metadata"]["name"] == name.as_str()).unwrap();
        let said = World::condition(&machine, skep_api::condition::ConditionType::MachineReady);
        assert!(said.starts_with("True AddressRefused: ") && said.contains(taken), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_was_never_known_and_is_not_believed_waits_for_a_person() {
    let (world, [name, other]) = brought().await;
    let taken = address(&world, &other);
    world.fake.edit("machines.skep.dev", "default", &name, |machine| {
        machine["status"].as_object_mut().unwrap().remove("address");
    });
    reports(&world, &name, taken.as_str().unwrap());
    let asked = kubelets::serving_csr("taken", &name, taken.as_str().unwrap());
    assert_eq!(decided(&world, asked).await, "open");
    reports(&world, &name, "192.0.2.7");
    world.pass(&world.reconcilers(world.fake.client())).await.unwrap();
    let said = request(&world, "taken")["status"]["conditions"][0]["type"].clone();
    assert_eq!(said, "Denied", "it asks for what is another machine's");
}
