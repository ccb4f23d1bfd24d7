//! The rules for web pages of other origins on a real cluster of three nodes: written at one, each
//! applies them from its own state.

mod cluster;

use anyhow::ensure;

use cluster::{Answer, Cluster};

const ORIGIN: &str = "https://ui.example";

impl Cluster {
    /// What a browser asks for a page of this origin before it sends the page's request.
    async fn preflight(&self, node: usize, origin: &str) -> anyhow::Result<Answer> {
        let headers = format!("origin: {origin}\r\naccess-control-request-method: POST\r\n");
        self.ask(node, "OPTIONS /v1/secret/data/app", &headers, "").await
    }

    /// Returns when the node has whatever was written before.
    async fn settle(&self, node: usize) -> anyhow::Result<()> {
        let answer = self.as_root(node, "GET /v1/sys/config/cors", "").await?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(())
    }
}

impl Answer {
    fn has(&self, header: &str) -> bool {
        self.headers.iter().any(|line| line.starts_with(header))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_applies_the_rules_from_its_own_state() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let cluster = Cluster::start(directory.path()).await?;
    for node in 0..3 {
        let answer = cluster.preflight(node, ORIGIN).await?;
        ensure!(answer.status == 405 && !answer.has("access-control-"), "{answer:?}");
    }
    let rules = format!(r#"{{"allowed_origins":"{ORIGIN}","allowed_headers":"X-Own"}}"#);
    let written = cluster.as_root(0, "POST /v1/sys/config/cors", &rules).await?;
    ensure!(written.status == 204, "{written:?}");
    for node in 0..3 {
        cluster.settle(node).await?;
        let answer = cluster.preflight(node, ORIGIN).await?;
        ensure!(answer.status == 204, "{answer:?}");
        ensure!(answer.has(&format!("access-control-allow-origin: {ORIGIN}")), "{answer:?}");
        let headers = answer.headers.iter();
        let mut allowed = headers.filter(|line| line.starts_with("access-control-allow-headers:"));
        ensure!(allowed.any(|line| line.ends_with(",X-Own")), "{answer:?}");
        let answer = cluster.preflight(node, "https://evil.example").await?;
        ensure!(answer.status == 403 && !answer.has("access-control-"), "{answer:?}");
        let from_page = format!("origin: {ORIGIN}\r\n");
        let answer = cluster.ask(node, "GET /v1/sys/health", &from_page, "").await?;
        ensure!(answer.has(&format!("access-control-allow-origin: {ORIGIN}")), "{answer:?}");
        ensure!(answer.has("vary: Origin"), "{answer:?}");
    }
    let removed = cluster.as_root(1, "DELETE /v1/sys/config/cors", "").await?;
    ensure!(removed.status == 204, "{removed:?}");
    for node in 0..3 {
        cluster.settle(node).await?;
        ensure!(cluster.preflight(node, ORIGIN).await?.status == 405);
    }
    Ok(())
}
