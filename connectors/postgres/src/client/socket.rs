//! The way to a server, before anything is said on it.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;
use transload_core::Result;

use crate::error::unreachable_server;
use crate::options::is_socket;

/// A server that does not answer is found out after a minute: half of it passes before it is asked, the rest in asking
/// again.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

/// A connection over the network, or inside of the machine.
pub(crate) type Socket = Either<TcpStream, UnixStream>;

/// Where a server listens.
#[derive(Clone)]
pub(super) struct Address {
    /// Its name or number, or the folder of its unix socket.
    pub(super) host: String,
    pub(super) port: u16,
    /// How long what was sent may stay without an answer.
    pub(super) longest_silence: Duration,
    /// Which of the addresses of its name has answered.
    pub(super) answered: Option<SocketAddr>,
}

impl Address {
    /// Connects to the first of the host's addresses that answers, and from then on to that one: a name may stand for
    /// another server a moment later.
    ///
    /// # Errors
    /// As [`unreachable_server`] says.
    pub(super) async fn connect(&mut self) -> Result<Socket> {
        self.reach().await.map_err(|error| unreachable_server(&error))
    }

    async fn reach(&mut self) -> io::Result<Socket> {
        if is_socket(&self.host) {
            let path = Path::new(&self.host).join(format!(".s.PGSQL.{}", self.port));
            return UnixStream::connect(path).await.map(Either::Right);
        }
        let stream = match self.answered {
            Some(address) => TcpStream::connect(address).await?,
            None => TcpStream::connect((self.host.as_str(), self.port)).await?,
        };
        self.answered = stream.peer_addr().ok();
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(self.longest_silence))?;
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
        socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_RETRIES))?;
        Ok(Either::Left(stream))
    }
}
