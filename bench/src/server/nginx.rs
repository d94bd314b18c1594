//! nginx with files on disk: how fast files can be handed out on this machine.

use std::{
    fs::{self, File},
    io::Write as _,
    net::SocketAddr,
    path::Path,
    process::{Child, Command},
    time::Instant,
};

use anyhow::{Result, bail};
use tokio::net::TcpStream;

use super::{Directory, START_TIMEOUT, Setup, free_loopback, spawn, stop, tail, write_file};
use crate::measure::Pids;

/// Where Debian puts it, which is in the `PATH` of root alone.
const DEBIAN: &str = "/usr/sbin/nginx";

/// A running nginx. Dropping it stops it and removes its files.
#[derive(Debug)]
pub(crate) struct Nginx {
    pub(crate) addr: SocketAddr,
    process: Child,
    _dir: Directory,
}

impl Nginx {
    /// Starts nginx with one file for each length, whose path is the length. `None` where nginx is not installed.
    pub(crate) async fn start(setup: &Setup, lengths: &[u64]) -> Result<Option<Self>> {
        let program = if Path::new(DEBIAN).exists() { DEBIAN } else { "nginx" };
        if Command::new(program).arg("-v").output().is_err() {
            return Ok(None);
        }
        let addr = free_loopback();
        let dir = Directory::make(setup, "nginx")?;
        let files = dir.path.join("files");
        fs::create_dir(&files)?;
        for length in lengths {
            write_zeros(&files.join(length.to_string()), *length)?;
        }
        let config = dir.path.join("nginx.conf");
        write_file(&config, &configuration(&dir.path, addr))?;
        let log = dir.path.join("server.log");
        let mut command = Command::new(program);
        let process = spawn(command.arg("-p").arg(&dir.path).arg("-c").arg(&config), &log)?;
        let mut nginx = Self { addr, process, _dir: dir };
        nginx.wait_until_ready(&log).await?;
        Ok(Some(nginx))
    }

    /// There is no Postgres.
    pub(crate) fn pids(&self) -> Pids {
        Pids { server: self.process.id(), postmaster: u32::MAX }
    }

    async fn wait_until_ready(&mut self, log: &Path) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(self.addr).await.is_err() {
            if Instant::now() >= deadline || self.process.try_wait()?.is_some() {
                bail!("nginx does not start:\n{}", tail(log));
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        stop(&mut self.process);
    }
}

/// As Debian ships it, with everything below one directory.
fn configuration(dir: &Path, addr: SocketAddr) -> String {
    format!(
        "daemon off;\nworker_processes auto;\npid {dir}/pid;\nerror_log stderr;\n\
         events {{ worker_connections 2000; }}\n\
         http {{\n  sendfile on;\n  tcp_nopush on;\n  access_log off;\n  client_body_temp_path {dir}/body;\n  \
         server {{ listen {addr}; location / {{ root {dir}/files; }} }}\n}}\n",
        dir = dir.display()
    )
}

fn write_zeros(path: &Path, length: u64) -> Result<()> {
    let zeros = vec![0; 1 << 20];
    let mut file = File::create(path)?;
    let mut left = length;
    while left > 0 {
        let piece = left.min(zeros.len() as u64);
        file.write_all(&zeros[..piece as usize])?;
        left -= piece;
    }
    Ok(())
}
