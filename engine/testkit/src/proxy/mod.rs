//! A proxy that breaks what goes through it.
//!
//! It stands between a client and a server, on a free port of this machine, and passes bytes on. What goes wrong is plain
//! data: [rules](Rule), which say which connections or HTTP requests are struck, and by which fault. The same rules strike
//! the same numbers, and they can be changed while the proxy runs.
//!
//! Requests are known by their first lines, wherever they stand on a connection: bodies are skipped by the length that
//! their heads state. What is no HTTP passes all the same.

mod pass;
mod requests;
mod rule;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

use self::pass::connection;

pub use self::rule::{End, Fault, Rule, What, When};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// A proxy that runs until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the proxy and its connections share.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// The time in which connections are refused has changed.
    refusal: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// With how many things each has been about.
    rules: Vec<(Rule, u64)>,
    struck: Vec<String>,
    refused_until: Option<Instant>,
}

impl Proxy {
    /// Starts a proxy before a server. Nothing goes wrong yet.
    ///
    /// # Errors
    /// As the system fails to give a port.
    pub fn new(server: SocketAddr) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        // It keeps the port while nobody listens there.
        let keeper = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = keeper.local_addr()?;
        let listener = {
            let _in_runtime = runtime.enter();
            bound(address)?.listen(BACKLOG)?
        };
        let shared = Arc::<Shared>::default();
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("proxy".to_string()).spawn(move || {
            run(&runtime, listener, address, server, served, stopped);
            drop(keeper);
        })?;
        Ok(Self { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Where clients find it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the rules from now on; those before are forgotten. Of several that strike, the first counts. What has befallen
    /// a connection stays with it, and what was refused is accepted again.
    pub fn set(&self, rules: impl IntoIterator<Item = Rule>) {
        let mut state = self.shared.state();
        state.rules = rules.into_iter().map(|rule| (rule, 0)).collect();
        state.struck.clear();
        if state.refused_until.take().is_some() {
            self.shared.refusal.notify_one();
        }
    }

    /// What was struck since the rules were set: first lines of requests, and `connection`.
    pub fn struck(&self) -> Vec<String> {
        self.shared.state().struck.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What befalls a connection, or the request with this first line.
    fn strike(&self, line: Option<&str>) -> Option<Fault> {
        let mut state = self.state();
        let mut fault = None;
        for (rule, number) in state.rules.iter_mut().filter(|(rule, _)| rule.is_about(line)) {
            *number += 1;
            if fault.is_none() && rule.when.strikes(*number) {
                fault = Some(rule.fault.clone());
            }
        }
        if fault.is_some() {
            state.struck.push(line.unwrap_or("connection").to_string());
        }
        fault
    }

    fn refuse(&self, time: Duration) {
        self.state().refused_until = Some(Instant::now() + time);
        self.refusal.notify_one();
    }

    /// The end of the time in which nobody is accepted, if it lies ahead.
    fn refused_until(&self) -> Option<Instant> {
        self.state().refused_until.filter(|until| *until > Instant::now())
    }
}

/// A socket at an address where others of ours may be, too.
fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn run(
    runtime: &Runtime,
    listener: TcpListener,
    address: SocketAddr,
    server: SocketAddr,
    shared: Arc<Shared>,
    stopped: oneshot::Receiver<()>,
) {
    runtime.block_on(async {
        tokio::select! {
            _ = stopped => {}
            _ = accept(listener, address, server, shared) => {}
        }
    });
}

/// Accepts connections, but for the time in which they are refused: then nobody listens.
async fn accept(
    mut listener: TcpListener,
    address: SocketAddr,
    server: SocketAddr,
    shared: Arc<Shared>,
) -> io::Result<()> {
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    tokio::spawn(connection(client, server, Arc::clone(&shared)));
                }
            }
            () = shared.refusal.notified() => {
                if shared.refused_until().is_some() {
                    drop(listener);
                    listener = listening_again(address, &shared).await?;
                }
            }
        }
    }
}

/// Listens when the time is over in which connections are refused.
async fn listening_again(address: SocketAddr, shared: &Shared) -> io::Result<TcpListener> {
    while let Some(until) = shared.refused_until() {
        tokio::select! {
            () = sleep_until(until) => {}
            () = shared.refusal.notified() => {}
        }
    }
    bound(address)?.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
    use std::net::{TcpListener as Listener, TcpStream as Stream};
    use std::time::Instant as Time;

    use super::requests::length;
    use super::*;

    /// A server that does this with every connection, each in a thread of its own.
    fn serving(serve: impl Fn(Stream) + Send + Sync + Clone + 'static) -> SocketAddr {
        let listener = Listener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serve = serve.clone();
                std::thread::spawn(move || serve(stream));
            }
        });
        address
    }

    /// A proxy before a server that says what it is told, and what that has been told so far.
    fn before_an_echo(rules: impl IntoIterator<Item = Rule>) -> (Proxy, Arc<Mutex<Vec<u8>>>) {
        let told = Arc::<Mutex<Vec<u8>>>::default();
        let heard = Arc::clone(&told);
        let server = serving(move |mut stream| {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                heard.lock().unwrap().extend_from_slice(&buffer[..read]);
                if stream.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
        });
        let proxy = Proxy::new(server).unwrap();
        proxy.set(rules);
        (proxy, told)
    }

    fn connected(proxy: &Proxy) -> Stream {
        let stream = Stream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// Says something, and everything that is answered until the connection ends.
    fn says(proxy: &Proxy, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = connected(proxy);
        stream.write_all(bytes)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map(|_| answer)
    }

    const ALL: When = When::Always;

    #[test]
    fn what_is_not_struck_passes_both_ways_however_much_it_is() {
        let (proxy, _) = before_an_echo([]);
        let much: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
        for bytes in [&b"x"[..], &b"GET / HTTP/1.1\r\n\r\n"[..], &much[..]] {
            let mut stream = connected(&proxy);
            let mut writer = stream.try_clone().unwrap();
            let said = bytes.to_vec();
            let writing = std::thread::spawn(move || writer.write_all(&said).unwrap());
            let mut answer = vec![0; bytes.len()];
            stream.read_exact(&mut answer).unwrap();
            writing.join().unwrap();
            assert!(answer == bytes);
        }
        assert!(proxy.struck().is_empty());
    }

    #[test]
    fn when_it_is_dropped_its_connections_end_and_its_port_is_free() {
        let (proxy, _) = before_an_echo([]);
        let address = proxy.address();
        let mut stream = connected(&proxy);
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        drop(proxy);
        assert!(!matches!(stream.read(&mut [0]), Ok(1..)));
        assert_eq!(Stream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn answers_come_late() {
        let (proxy, _) = before_an_echo([Rule::connections(ALL, Fault::Late(Duration::from_millis(80)))]);
        let begun = Time::now();
        assert_eq!(says(&proxy, b"x").unwrap(), b"x");
        assert!(begun.elapsed() >= Duration::from_millis(80));
    }

    #[test]
    fn bytes_come_slowly() {
        let (proxy, _) = before_an_echo([Rule::connections(ALL, Fault::Slow(10_000))]);
        let begun = Time::now();
        assert_eq!(says(&proxy, &[7; 3000]).unwrap().len(), 3000);
        assert!(begun.elapsed() >= Duration::from_millis(300));
    }

    #[test]
    fn answers_break_off() {
        for end in [End::Closed, End::Reset] {
            let (proxy, told) = before_an_echo([Rule::connections(ALL, Fault::CutAnswer(40, end))]);
            let mut stream = connected(&proxy);
            stream.write_all(&[7; 100]).unwrap();
            let mut answer = [0; 200];
            stream.read_exact(&mut answer[..40]).unwrap();
            match (end, stream.read(&mut answer)) {
                (End::Closed, Ok(0)) => {}
                (End::Reset, Err(error)) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
                (_, other) => panic!("{end:?}: {other:?}"),
            }
            assert_eq!(told.lock().unwrap().len(), 100);
        }
    }

    #[test]
    fn requests_break_off() {
        let (proxy, told) = before_an_echo([Rule::connections(ALL, Fault::CutRequest(40, End::Reset))]);
        let mut stream = connected(&proxy);
        stream.write_all(&[7; 100]).unwrap();
        let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let begun = Time::now();
        while told.lock().unwrap().len() < 40 && begun.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(told.lock().unwrap().len(), 40);
    }

    #[test]
    fn nobody_answers() {
        let (proxy, told) = before_an_echo([Rule::connections(ALL, Fault::Silence)]);
        let mut stream = connected(&proxy);
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        stream.write_all(b"x").unwrap();
        let kind = stream.read(&mut [0]).unwrap_err().kind();
        assert!([ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&kind), "{kind:?}");
        assert!(told.lock().unwrap().is_empty());
    }

    #[test]
    fn connections_are_refused_for_a_while() {
        let (proxy, _) = before_an_echo([Rule::connections(When::Nth(2), Fault::Refuse(Duration::from_millis(300)))]);
        let begun = Time::now();
        assert_eq!(says(&proxy, b"x").unwrap(), b"x");
        let _ = Stream::connect(proxy.address());
        let refused = |proxy: &Proxy| Stream::connect(proxy.address()).is_err();
        while !refused(&proxy) {
            assert!(begun.elapsed() < Duration::from_secs(10), "nobody is refused");
        }
        while refused(&proxy) {
            assert!(begun.elapsed() < Duration::from_secs(10), "everybody is refused");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(begun.elapsed() >= Duration::from_millis(300));
        assert_eq!(says(&proxy, b"x").unwrap(), b"x");
        proxy.set([Rule::connections(When::Nth(1), Fault::Refuse(Duration::from_secs(60)))]);
        let _ = Stream::connect(proxy.address());
        while !refused(&proxy) {}
        proxy.set([]);
        while refused(&proxy) {
            assert!(begun.elapsed() < Duration::from_secs(10), "what was refused is not accepted again");
        }
    }

    #[test]
    fn rules_change_while_it_runs() {
        let (proxy, _) = before_an_echo([Rule::connections(When::Every(3), Fault::CutAnswer(0, End::Closed))]);
        let heard = |proxy: &Proxy| (0..6).map(|_| says(proxy, b"x").unwrap().len()).collect::<Vec<usize>>();
        assert_eq!(heard(&proxy), [1, 1, 0, 1, 1, 0]);
        assert_eq!(proxy.struck(), ["connection"; 2]);
        proxy.set([Rule::connections(When::First(1), Fault::CutAnswer(0, End::Closed))]);
        assert_eq!(heard(&proxy), [0, 1, 1, 1, 1, 1]);
        proxy.set([]);
        assert_eq!(heard(&proxy), [1; 6]);
    }

    /// A server that answers each request on a connection with its number there, and has heard these lines.
    fn http() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let heard = Arc::clone(&lines);
        let server = serving(move |mut stream| {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            for number in 1.. {
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    if !matches!(reader.read_line(&mut head), Ok(1..)) {
                        return;
                    }
                }
                let mut body = vec![0; length(&head)];
                reader.read_exact(&mut body).unwrap();
                heard.lock().unwrap().push(head.lines().next().unwrap().to_string());
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}");
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        });
        (server, lines)
    }

    /// Sends a request, and reads an answer of one byte.
    fn asks(stream: &mut Stream, line: &str, body: &str) -> io::Result<u8> {
        let length = body.len();
        stream.write_all(format!("{line} HTTP/1.1\r\nHost: h\r\ncontent-length: {length}\r\n\r\n{body}").as_bytes())?;
        let mut answer = Vec::new();
        while !answer.windows(4).any(|four| four == b"\r\n\r\n") {
            let mut one = [0];
            stream.read_exact(&mut one)?;
            answer.push(one[0]);
        }
        let mut body = [0];
        stream.read_exact(&mut body)?;
        Ok(body[0])
    }

    #[test]
    fn requests_are_known_wherever_they_stand_on_a_connection() {
        let (server, heard) = http();
        let proxy = Proxy::new(server).unwrap();
        let lost = Fault::CutAnswer(0, End::Reset);
        proxy.set([Rule::requests(["PUT ", "/log/", ".json"], When::Nth(2), lost)]);
        let mut stream = connected(&proxy);
        // What looks like a request in a body is none.
        assert_eq!(asks(&mut stream, "PUT /x", "PUT /log/0.json HTTP/1.1\r\n\r\n").unwrap(), b'1');
        assert_eq!(asks(&mut stream, "PUT /log/1.json", "{}").unwrap(), b'2');
        assert_eq!(asks(&mut stream, "GET /log/1.json", "").unwrap(), b'3');
        let error = asks(&mut stream, "PUT /log/2.json", &"x".repeat(100_000)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(proxy.struck(), ["PUT /log/2.json HTTP/1.1"]);
        assert_eq!(heard.lock().unwrap().last().unwrap(), "PUT /log/2.json HTTP/1.1");
        assert_eq!(asks(&mut connected(&proxy), "PUT /log/3.json", "").unwrap(), b'1');
    }

    #[test]
    fn an_answer_can_be_given_without_asking_the_server() {
        let (server, heard) = http();
        let proxy = Proxy::new(server).unwrap();
        let busy = "HTTP/1.1 503 Slow Down\r\nConnection: close\r\nContent-Length: 1\r\n\r\n!";
        proxy.set([Rule::requests(["/b"], When::First(1), Fault::Answer(busy.to_string()))]);
        let mut stream = connected(&proxy);
        assert_eq!(asks(&mut stream, "GET /a", "").unwrap(), b'1');
        assert_eq!(asks(&mut stream, "PUT /b", &"x".repeat(50_000)).unwrap(), b'!');
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the connection ends");
        assert_eq!(asks(&mut connected(&proxy), "PUT /b", "x").unwrap(), b'1');
        assert_eq!(*heard.lock().unwrap(), ["GET /a HTTP/1.1", "PUT /b HTTP/1.1"]);
    }
}
