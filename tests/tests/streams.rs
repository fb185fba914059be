//! Many recordings at once.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use holdfast_tests::media::webm_noise;
use holdfast_tests::tools::{sha256, sha256_of};
use holdfast_tests::{Environment, Node, Settings, Stream};

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_streams_at_once_arrive_as_they_were_sent() -> Result<()> {
    const STREAMS: u64 = 200;
    let node = Node::start(Settings::new().environment(Environment::raw_only("raw"))).await?;
    let address = node.address()?;
    let tasks: Vec<_> = (0..STREAMS)
        .map(|seed| {
            let address = address.clone();
            tokio::spawn(async move {
                let bytes = webm_noise(1_000 + seed, 200_000 + usize::try_from(seed)? * 997);
                let mut stream = Stream::start(&address, "raw").await?;
                // As a recorder does it: a piece now and then, not waiting for each to be durable.
                for (nr, piece) in bytes.chunks(40_000).enumerate() {
                    stream.chunk(nr as u64 * 40_000, piece).await?;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                stream.acked_to(bytes.len() as u64).await?;
                stream.stop(bytes.len()).await?;
                stream.save().await?;
                Ok::<_, anyhow::Error>((stream.id, sha256(&bytes)))
            })
        })
        .collect();
    let mut sent = BTreeMap::new();
    for task in tasks {
        let (id, digest) = task.await??;
        sent.insert(id, digest);
    }
    ensure!(sent.len() == 200);
    for (id, digest) in sent {
        node.wait_for(&id, "stored").await?;
        ensure!(sha256_of(&node.delivered("raw", &id, "_raw.webm"))? == digest, "{id}");
    }
    Ok(())
}
