//! One large file by PUT over TLS, to Holdfast and to nginx in turn.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use holdfast_tests::http::Uploaded;
use holdfast_tests::media::webm_noise;
use holdfast_tests::node::free_port;
use holdfast_tests::tools::output_of;
use holdfast_tests::{Environment, Node, Settings, until};
use nix::unistd::Pid;
use reqwest::Method;

use crate::process::{children, cpu_seconds, cpu_seconds_of_children, forget_peak, memory_kib};

const MIB: usize = 1 << 20;

/// nginx with one worker that takes PUTs, as fast as its manual says it can be.
struct Nginx {
    child: Child,
    port: u16,
}

impl Nginx {
    async fn start(dir: &Path, node: &Node) -> Result<Self> {
        let port = free_port()?;
        let tls = node.state().join("tls");
        let (dir, tls) = (dir.display(), tls.display());
        // Started by root it would give up its rights, and with them its folders here.
        let user = if nix::unistd::getuid().is_root() { "user root;" } else { "" };
        let config = format!(
            "{user} worker_processes 1; daemon off; pid {dir}/nginx.pid; error_log {dir}/error.log;
            events {{ worker_connections 1024; }}
            http {{
                access_log off;
                client_max_body_size 0;
                client_body_buffer_size 1m;
                client_body_temp_path {dir}/temp;
                proxy_temp_path {dir}/unused; fastcgi_temp_path {dir}/unused;
                uwsgi_temp_path {dir}/unused; scgi_temp_path {dir}/unused;
                server {{
                    listen 127.0.0.1:{port} ssl;
                    ssl_certificate {tls}/certificate.pem;
                    ssl_certificate_key {tls}/key.pem;
                    ssl_protocols TLSv1.3;
                    location / {{ root {dir}/files; dav_methods PUT; }}
                }}
            }}"
        );
        fs::create_dir_all(format!("{dir}/files"))?;
        fs::write(format!("{dir}/nginx.conf"), config)?;
        let child = Command::new("/usr/sbin/nginx")
            .args(["-c", &format!("{dir}/nginx.conf"), "-e", &format!("{dir}/error.log")])
            .stdin(Stdio::null())
            .spawn()
            .context("starting nginx")?;
        let nginx = Self { child, port };
        until("nginx to start", async || Ok((!children(nginx.pid()?)?.is_empty()).then_some(())))
            .await?;
        Ok(nginx)
    }

    fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(self.child.id().try_into()?))
    }

    fn worker(&self) -> Result<Pid> {
        children(self.pid()?)?.first().copied().context("nginx has no worker")
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ =
            self.pid().map(|pid| nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM));
        let _ = self.child.wait();
    }
}

/// One upload.
struct Round {
    cpu_s: f64,
    wall_s: f64,
    peak_growth_kib: u64,
    answer: String,
}

async fn put(file: &Path, url: &str, node: &Node, server: Pid) -> Result<Round> {
    let mut curl = Command::new("curl");
    curl.args([
        "-sS",
        "--fail-with-body",
        "--http1.1",
        "--tls13-ciphers",
        "TLS_AES_256_GCM_SHA384",
    ]);
    curl.args(["-H", "Expect:", "--cacert"]).arg(node.certificate()).arg("-T").arg(file).arg(url);
    forget_peak(server)?;
    let (cpu, memory, begun) = (cpu_seconds(server)?, memory_kib(server, "VmRSS")?, Instant::now());
    let answer = output_of(curl).await?;
    Ok(Round {
        wall_s: begun.elapsed().as_secs_f64(),
        cpu_s: cpu_seconds(server)? - cpu,
        peak_growth_kib: memory_kib(server, "VmHWM")?.saturating_sub(memory),
        answer: String::from_utf8(answer)?,
    })
}

/// What Holdfast does beside taking a file in, done to a file that is there: its CPU seconds.
async fn digest_and_sync(file: &Path) -> Result<f64> {
    let before = cpu_seconds_of_children()?;
    for program in [&["openssl", "dgst", "-sha256"][..], &["sync"]] {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(file);
        output_of(command).await?;
    }
    Ok(cpu_seconds_of_children()? - before)
}

fn lay_out(file: &Path, mib: u64) -> Result<()> {
    let mut writer = BufWriter::with_capacity(MIB, File::create(file)?);
    let piece = webm_noise(1, MIB);
    writer.write_all(&piece)?;
    let mut filler = piece;
    fastrand::Rng::with_seed(2).fill(&mut filler);
    for _ in 1..mib {
        writer.write_all(&filler)?;
    }
    writer.flush()?;
    Ok(())
}

pub(crate) async fn measure(mib: u64, rounds: u32) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("recording.webm");
    lay_out(&file, mib)?;
    // No destination and nothing to make: what is left is taking in.
    let here = Environment::raw_only("here").set("destinations", Vec::<String>::new());
    let node = Node::start(Settings::new().environment(here)).await?;
    let nginx = Nginx::start(dir.path(), &node).await?;
    let (holdfast, worker) = (node.pid()?, nginx.worker()?);

    println!("uploads: {mib} MiB by PUT, TLS 1.3 with AES-256-GCM, HTTP/1.1, client: curl");
    println!("| round | server | CPU s | MiB per CPU s | wall s | memory grew by, KiB |");
    println!("| ---: | --- | ---: | ---: | ---: | ---: |");
    let mut totals = [0.0, 0.0, 0.0];
    for round in 1..=rounds {
        let url = node.url(&Node::upload_path("here"));
        let ours = put(&file, &url, &node, holdfast).await?;
        let uploaded = Uploaded::parse(&ours.answer)?;
        let request = node.api(Method::DELETE, &format!("/recordings/{}", uploaded.id))?;
        ensure!(request.send().await?.status().is_success());
        node.gone_from_vault(&uploaded.id).await?;

        let url = format!("https://127.0.0.1:{}/recording.webm", nginx.port);
        let theirs = put(&file, &url, &node, worker).await?;
        let taken = dir.path().join("files/recording.webm");
        ensure!(fs::metadata(&taken)?.len() == mib * MIB as u64, "nginx has another size");
        let same_work_s = theirs.cpu_s + digest_and_sync(&taken).await?;
        fs::remove_file(taken)?;

        totals[2] += same_work_s;
        for (nr, name, it) in [(0, "holdfast", &ours), (1, "nginx", &theirs)] {
            totals[nr] += it.cpu_s;
            let per_second = mib as f64 / it.cpu_s;
            println!(
                "| {round} | {name} | {:.2} | {per_second:.0} | {:.2} | {} |",
                it.cpu_s, it.wall_s, it.peak_growth_kib
            );
        }
    }
    let [ours, theirs, same_work] = totals.map(|cpu_s| f64::from(rounds) * mib as f64 / cpu_s);
    println!(
        "in all: holdfast {ours:.0}, nginx {theirs:.0} MiB per CPU second: {:.2} of nginx",
        ours / theirs
    );
    println!(
        "nginx, then `openssl dgst -sha256` and `sync` of the file, which Holdfast does on the way: \
         {same_work:.0} MiB per CPU second; Holdfast is {:.2} of that\n",
        ours / same_work
    );
    Ok(())
}
