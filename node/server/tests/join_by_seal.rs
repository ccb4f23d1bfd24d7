//! Joining by the seal's answer: three real processes, shares and addresses, no token and no secret.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use conclave_sdk::{Client, Config, NodeStatus};
use serde_json::json;

/// One node without TLS towards clients; dropped, it is killed.
struct Process {
    child: Child,
    url: String,
    cluster: String,
}

impl Process {
    /// A node whose configuration knows the peer listener of `leader`, and nothing that lets it in.
    fn start(base: &Path, name: &str, leader: Option<&str>) -> anyhow::Result<Self> {
        let (api, cluster) = (free_address()?, free_address()?);
        let retry_join = leader.map_or_else(String::new, |leader| {
            format!("retry_join {{\n    leader_cluster_addr = \"https://{leader}\"\n  }}")
        });
        let text = format!(
            "listener \"tcp\" {{\n  address = \"{api}\"\n  cluster_address = \"{cluster}\"\n  \
             tls_disable = \"true\"\n}}\nstorage \"raft\" {{\n  path = \"{name}-data\"\n  \
             node_id = \"{name}\"\n  {retry_join}\n}}\n"
        );
        let file = base.join(format!("{name}.hcl"));
        std::fs::write(&file, text)?;
        let child = Command::new(env!("CARGO_BIN_EXE_conclaved"))
            .args(["server", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("conclaved cannot be started")?;
        Ok(Self { child, url: format!("http://{api}"), cluster })
    }

    async fn client(&self) -> anyhow::Result<Client> {
        let mut config = Config::new([self.url.clone()]);
        config.discover = false;
        Ok(Client::connect(config).await?)
    }

    async fn wait(&self, enough: impl Fn(&NodeStatus) -> bool) -> anyhow::Result<NodeStatus> {
        let client = self.client().await?;
        let mut last = None;
        for _ in 0..POLLS_MAX {
            match client.operator().status(Some(&self.url)).await {
                Ok(status) if enough(&status) => return Ok(status),
                other => last = Some(other),
            }
            conclave_server::system::ports().clock.sleep(POLL).await;
        }
        anyhow::bail!("{}: {last:?}", self.url)
    }

    async fn unseal(&self, key: &[u8]) -> Result<NodeStatus, anyhow::Error> {
        let client = self.client().await?;
        Ok(client.operator().unseal(&self.url, key.to_vec()).await?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> anyhow::Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_join_by_the_shares_that_unseal_them() -> anyhow::Result<()> {
    let base = tempfile::tempdir()?;
    let first = Process::start(base.path(), "node-1", None)?;
    first.wait(|_| true).await?;
    let made = first.client().await?.operator().init(&first.url, 3, 2).await?;
    let keys = &made.keys;
    first.wait(|status| !status.sealed && status.leader_id != 0).await?;

    let second = Process::start(base.path(), "node-2", Some(&first.cluster))?;
    let third = Process::start(base.path(), "node-3", Some(&first.cluster))?;
    for node in [&second, &third] {
        let invited = node.wait(|status| status.initialized).await?;
        assert!(invited.sealed && invited.node_id == 0, "it is no member yet");
        assert_eq!((invited.threshold, invited.shares), (2, 3));
    }

    // Two shares that do not belong together let nobody in, and leave everything as it was.
    let mut wrong = keys[1].to_vec();
    wrong[3] ^= 0x40;
    assert_eq!(second.unseal(&keys[0]).await?.progress, 1);
    let refused = second.unseal(&wrong).await.expect_err("wrong shares").to_string();
    assert!(!refused.contains("share 2"), "nobody is told which: {refused}");
    let root = Config::new([first.url.clone()]).with_token(made.root_token.clone());
    let operator = Client::connect(root).await?.operator();
    assert_eq!(operator.members().await?.len(), 1);
    // It is the node's to join, not to found a second cluster.
    let second_client = second.client().await?;
    let refused = second_client.operator().init(&second.url, 1, 1).await.err().expect("invited");
    assert!(refused.to_string().contains("is to join the cluster"), "{refused}");

    for (node, pair) in [(&second, [0, 1]), (&third, [1, 2])] {
        for (given, number) in pair.into_iter().enumerate() {
            let status = node.unseal(&keys[number]).await?;
            assert_eq!(status.progress, if given == 0 { 1 } else { 0 });
        }
        node.wait(|status| !status.sealed && status.leader_id != 0).await?;
    }
    let mut members = Vec::new();
    for _ in 0..POLLS_MAX {
        members = operator.members().await?;
        if members.iter().filter(|member| member.voter).count() == 3 {
            break;
        }
        conclave_server::system::ports().clock.sleep(POLL).await;
    }
    assert!(members.len() == 3 && members.iter().all(|member| member.voter), "{members:?}");

    drop(first);
    let config = Config::new([second.url.clone(), third.url.clone()]);
    let client = Client::connect(config.with_token(made.root_token)).await?;
    second.wait(|status| status.leader_id != 0 && status.leader_id != 1).await?;
    let body = json!({"type": "kv", "options": {"version": "2"}});
    let logical = client.logical();
    logical.call(conclave_sdk::Operation::Write, "sys/mounts/secret", Some(&body)).await?;
    client.kv("secret").put("after", json!({"the": "failover"}), None).await?;
    let read = client.kv("secret").get("after", None).await?.context("it was written")?;
    assert_eq!(read.value()?, json!({"the": "failover"}));
    Ok(())
}

const POLL: Duration = Duration::from_millis(100);
const POLLS_MAX: u32 = 600;
