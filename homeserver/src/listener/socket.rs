//! TCP and unix sockets alike.

use std::{
    fs, io,
    net::IpAddr,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::config::Bind;

/// Owner and group may connect: put the reverse proxy into the group, or the socket into a directory of theirs.
const UNIX_SOCKET_MODE: u32 = 0o660;

/// A socket that connections come in on.
#[derive(Debug)]
pub enum Socket {
    /// An address and port.
    Tcp(TcpListener),
    /// A path, which is removed at the end.
    Unix(UnixListener, RemoveOnDrop),
}

/// A connection that came in.
pub(super) struct Accepted {
    pub(super) stream: Stream,
    /// `None` for a unix socket.
    pub(super) peer: Option<IpAddr>,
}

pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Removes the path of a unix socket.
#[derive(Debug)]
pub struct RemoveOnDrop(PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Socket {
    pub(super) async fn bind(bind: &Bind) -> io::Result<Self> {
        match bind {
            Bind::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp),
            Bind::Unix(path) => bind_unix(path).await,
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Answers are written whole; waiting for more to send only delays them.
                let _ = stream.set_nodelay(true);
                Ok(Accepted { stream: Stream::Tcp(stream), peer: Some(address.ip()) })
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok(Accepted { stream: Stream::Unix(stream), peer: None })
            }
        }
    }

    /// The address that was taken, where port 0 stood for any.
    #[cfg(test)]
    pub(super) fn tcp_address(&self) -> Option<std::net::SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }
}

async fn bind_unix(path: &Path) -> io::Result<Socket> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
        if UnixStream::connect(path).await.is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another program answers there"));
        }
        // Left behind by a program that was killed.
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(UNIX_SOCKET_MODE))?;
    Ok(Socket::Unix(listener, RemoveOnDrop(path.to_owned())))
}
