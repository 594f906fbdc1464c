//! A small HTTP server that says what it was sent.

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
        let header = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = listener.local_addr().unwrap().to_string();
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let heard = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(request) = read(&stream) else { continue };
                let mut heard = heard.lock().unwrap();
                let code = codes.get(heard.len()).or(codes.last()).unwrap();
                heard.push(request);
                let answer = format!(
                    "HTTP/1.1 {code} Word\r\n{header}Content-Length: 6\r\nLocation: /elsewhere\r\nConnection: close\r\n\r\nanswer"
                );
                let _ = (&stream).write_all(answer.as_bytes());
            }
        });
        Self { place, requests }
    }

    /// What came so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
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
