//! A small HTTP server that says what it was sent, and answers what a test wants.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::Value;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Such as `POST /hook`.
    pub(crate) line: String,
    /// Names in small letters.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// When it had come.
    pub(crate) at: Instant,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// A server that lives as long as the test's process.
pub(crate) struct Server {
    /// Host and port.
    pub(crate) place: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// One that answers with these codes, one after the other; with the last one ever after.
    pub(crate) fn answering(codes: &'static [u16]) -> Self {
        Self::answering_with(codes, "")
    }

    /// One that has more to say with each of these codes: a header, such as `Retry-After: 1`.
    pub(crate) fn answering_with(codes: &'static [u16], header: &str) -> Self {
        let mut headers = vec![("Location".to_string(), "/elsewhere".to_string())];
        headers.extend(header.split_once(": ").map(|(name, value)| (name.to_string(), value.to_string())));
        Self::with(move |number, _| {
            let code = codes.get(number).or(codes.last()).unwrap();
            let headers: Vec<(&str, String)> = headers.iter().map(|(n, value)| (n.as_str(), value.clone())).collect();
            answer(&format!("{code} Word"), &headers, b"answer")
        })
    }

    /// One that answers each request, of which there were so many before, with what is made of it.
    pub(crate) fn with(answer: impl Fn(usize, &Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = listener.local_addr().unwrap().to_string();
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (heard, answer) = (Arc::clone(&requests), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (heard, answer) = (Arc::clone(&heard), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let Some(request) = read(&stream) else { return };
                    let number = {
                        let mut heard = heard.lock().unwrap();
                        heard.push(request.clone());
                        heard.len() - 1
                    };
                    let mut said = answer(number, &request);
                    // Who asks for the head alone gets no more.
                    if request.line.starts_with("HEAD ")
                        && let Some(end) = said.windows(4).position(|four| four == b"\r\n\r\n")
                    {
                        said.truncate(end + 4);
                    }
                    let _ = (&stream).write_all(&said);
                });
            }
        });
        Self { place, requests }
    }

    /// What came so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

/// An answer as it is sent.
pub(crate) fn answer(status: &str, headers: &[(&str, String)], body: &[u8]) -> Vec<u8> {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut text = String::new();
        reader.read_line(&mut text).ok()?;
        Some(text.trim_end().to_string())
    };
    let first = line()?;
    let mut headers = Vec::new();
    loop {
        let next = line()?;
        let Some((name, value)) = next.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_string()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, length)| length.as_str());
    let mut body = vec![0; length.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let line = first.strip_suffix(" HTTP/1.1")?.to_string();
    Some(Request { line, headers, body: String::from_utf8(body).ok()?, at: Instant::now() })
}
