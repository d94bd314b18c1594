//! An S3-compatible store: moto's server, from PyPI.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;

use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

use crate::process::{Process, Recipe, free_address, fresh_directory};
use crate::{ServerOptions, install, unique};

/// A bucket of its own in a store that all cases of a run share.
#[derive(Clone, Debug)]
pub struct ObjectStore {
    address: SocketAddr,
    bucket: String,
}

impl ObjectStore {
    /// Starts the store, if no case has done so yet, and makes a bucket.
    pub async fn start() -> Self {
        static SHARED: OnceCell<(SocketAddr, Mutex<Process>)> = OnceCell::const_new();
        let start = || async { spawn_blocking(start).await.expect("the store can be started") };
        let (address, _) = SHARED.get_or_init(start).await;
        let store = Self { address: *address, bucket: unique("bucket").replace('_', "-") };
        let made = store.ask("PUT", "").await;
        assert!(made.contains(" 200 "), "{made}");
        store
    }

    /// A server that keeps its files there.
    #[must_use]
    pub fn keeping(&self, options: ServerOptions) -> ServerOptions {
        self.known_to(options).kith("media.store", "\"s3\"")
    }

    /// A server that knows the store, and keeps its files on disk.
    #[must_use]
    pub fn known_to(&self, options: ServerOptions) -> ServerOptions {
        let text = |text: &str| Value::from(text).to_string();
        options
            .kith("media.s3_endpoint", &text(&format!("http://{}", self.address)))
            .kith("media.s3_bucket", &text(&self.bucket))
            .kith("media.s3_prefix", "\"kith\"")
            .kith("media.s3_access_key_id", "\"id\"")
            .kith("media.s3_secret_access_key", "\"secret\"")
    }

    /// The headers and the content behind a link to a file of the store.
    pub async fn follow(&self, link: &str) -> String {
        let path = link.strip_prefix(&format!("http://{}/{}", self.address, self.bucket));
        self.ask("GET", path.expect("a link to this bucket")).await
    }

    /// How many files lie in the bucket.
    pub async fn count(&self) -> usize {
        self.ask("GET", "?list-type=2").await.matches("<Key>").count()
    }

    /// A request about the bucket; the answer as it comes.
    async fn ask(&self, method: &str, query: &str) -> String {
        let request = format!(
            "{method} /{}{query} HTTP/1.0\r\nHost: {}\r\nContent-Length: 0\r\n\r\n",
            self.bucket, self.address
        );
        let address = self.address;
        let ask = move || {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        };
        spawn_blocking(ask).await.expect("no panic").expect("the store answers")
    }
}

fn start() -> (SocketAddr, Mutex<Process>) {
    let program = install::object_store();
    let directory = fresh_directory("objects");
    let address = free_address();
    let recipe = Recipe {
        program,
        arguments: vec![
            "-H".to_owned(),
            address.ip().to_string(),
            "-p".to_owned(),
            address.port().to_string(),
        ],
        environment: Vec::new(),
        log: directory.join("server.log"),
        directory,
        address,
        ready_path: "/moto-api/data.json",
    };
    (address, Mutex::new(Process::start(recipe)))
}
