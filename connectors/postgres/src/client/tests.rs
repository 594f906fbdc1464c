//! Connections to what is not quite a server.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};

use secrecy::SecretString;
use transload_core::{ErrorKind, Node};

use super::*;
use crate::options::parse;

/// An environment with a password.
struct Secret;

impl Resolve for Secret {
    fn env(&self, name: &str) -> Option<SecretString> {
        (name == "PW").then(|| SecretString::from("s3cr3t"))
    }

    fn file(&self, _: &str) -> std::io::Result<SecretString> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

fn settings(port: u16, more: &str) -> Settings {
    let json = format!(r#"{{"host": "127.0.0.1", "port": {port}, "database": "shop", "user": "loader"{more}}}"#);
    let node: Node = serde_json::from_str(&json).unwrap();
    parse(&node).unwrap()
}

/// Answers one connection with the same bytes whatever it says, and gives the port.
fn answering(bytes: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut said = [0; 1024];
        let _ = socket.read(&mut said);
        let _ = socket.write_all(&bytes);
        if !bytes.is_empty() {
            let _ = socket.shutdown(Shutdown::Write);
        }
        // What is not read would be answered by a reset, which may overtake the answer.
        while socket.read(&mut said).is_ok_and(|read| read > 0) {}
    });
    port
}

/// A message of the server.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

fn fatal(code: &str, text: &str) -> Vec<u8> {
    message(b'E', format!("SFATAL\0VFATAL\0C{code}\0M{text}\0\0").as_bytes())
}

/// A server of this version lets somebody in.
fn let_in(version: &str) -> Vec<u8> {
    [
        message(b'R', &0_u32.to_be_bytes()),
        message(b'S', format!("server_version\0{version}\0").as_bytes()),
        message(b'K', &[0; 8]),
        message(b'Z', b"I"),
    ]
    .concat()
}

async fn refusal(settings: &Settings) -> Error {
    let error = Client::connect(settings, &Secret, Role::Reader).await.err().unwrap();
    assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
    error
}

#[tokio::test]
async fn each_way_not_to_get_in_has_its_own_sentence() {
    let plain = r#", "tls": {"mode": "disable"}"#;
    let password = r#", "tls": {"mode": "disable"}, "password": "${env:PW}""#;
    let unknown = r#", "tls": {"mode": "disable"}, "password": "${env:GONE}""#;
    let encrypted = r#", "tls": {"mode": "require"}"#;
    let asks_for_password = message(b'R', &3_u32.to_be_bytes());
    let asks_for_kerberos = message(b'R', &2_u32.to_be_bytes());
    let ends = [let_in("15.4"), fatal("57P01", "terminating connection due to administrator command")].concat();
    for (answer, more, kind, wanted) in [
        (b"N".to_vec(), encrypted, ErrorKind::Config, "does not speak TLS"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), encrypted, ErrorKind::Config, "does not speak TLS"),
        (b"Shello".to_vec(), encrypted, ErrorKind::Config, "does not speak TLS as it should"),
        (fatal("28P01", "password authentication failed"), password, ErrorKind::Config, "user's name and password"),
        (fatal("53300", "sorry, too many clients already"), plain, ErrorKind::Transient, "no more connections"),
        (fatal("57P03", "the database system is starting up"), plain, ErrorKind::Transient, "it starts"),
        (asks_for_password, plain, ErrorKind::Config, "asks for a password, and there is none"),
        (asks_for_kerberos, password, ErrorKind::Config, "a way to log in that transload does not know"),
        (let_in("9.6.24"), plain, ErrorKind::Config, "PostgreSQL 9.6.24; the oldest"),
        (ends, plain, ErrorKind::Transient, "it shuts down, or somebody asked for it"),
        (let_in("15.4"), plain, ErrorKind::Transient, "is gone"),
        (Vec::new(), unknown, ErrorKind::Config, "variable GONE is not set"),
    ] {
        let error = refusal(&settings(answering(answer), more)).await;
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.to_string().contains(wanted), "{wanted}: {error:?}");
        assert!(error.to_string().contains("database shop, user loader"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_can_be_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = refusal(&settings(port, r#", "tls": {"mode": "disable"}"#)).await;
    assert_eq!((error.kind(), error.message()), (ErrorKind::Transient, "no server answers there"));
    assert!(error.to_string().contains(&format!("server 127.0.0.1:{port}")), "{error}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for() {
    for more in [r#", "tls": {"mode": "disable"}"#, r#", "tls": {"mode": "require"}"#] {
        let mut settings = settings(answering(Vec::new()), more);
        settings.connect_timeout = Duration::from_millis(50);
        let error = refusal(&settings).await;
        assert_eq!(error.kind(), ErrorKind::Transient);
        assert!(error.message().contains("in time") && error.hint_text().is_some(), "{error:?}");
    }
}

#[tokio::test]
async fn the_server_that_has_answered_is_found_again_whatever_its_name_stands_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = settings(listener.local_addr().unwrap().port(), r#", "tls": {"mode": "disable"}"#);
    let (_, way) = prepared(&settings, &Secret, Role::Reader).unwrap();
    let mut address = way.address;
    address.connect().await.unwrap();
    let mut again = Address { host: "elsewhere.invalid".to_string(), ..address };
    again.connect().await.unwrap();
    drop(listener);
    let error = again.connect().await.err().unwrap();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Transient, "no server answers there"));
}
