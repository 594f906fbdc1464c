//! How bytes pass through a connection, and what becomes of them.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::sleep;

use super::Shared;
use super::requests::Requests;
use super::rule::{End, Fault};

/// Bytes that are passed on at a time.
const PIECE: usize = 1 << 14;
/// How often a slow connection passes something on, in a second.
const STEPS: u64 = 20;

/// What becomes of a connection.
enum Outcome {
    Ended(End),
    Answered(String),
}

/// Passes on what comes through one connection, until it ends.
pub(super) async fn connection(mut client: TcpStream, server: SocketAddr, shared: Arc<Shared>) {
    let own = shared.strike(None);
    let outcome = match (&own, TcpStream::connect(server).await) {
        (Some(Fault::Refuse(time)), _) => {
            shared.refuse(*time);
            Outcome::Ended(End::Reset)
        }
        (_, Ok(mut server)) => pass(&mut client, &mut server, &shared, own.as_ref()).await,
        (_, Err(_)) => Outcome::Ended(End::Reset),
    };
    // Whoever is gone by then need not be told.
    let _ = match outcome {
        Outcome::Ended(End::Reset) => client.set_zero_linger(),
        Outcome::Ended(End::Closed) => client.shutdown().await,
        Outcome::Answered(text) => match client.write_all(text.as_bytes()).await {
            Ok(()) => client.shutdown().await,
            gone => gone,
        },
    };
}

/// Where a connection is.
#[derive(Debug, Default)]
struct Course {
    fault: Option<Fault>,
    /// Bytes that have passed each way since the fault began.
    asked: u64,
    answered: u64,
    /// Whether something was asked and nothing answered since.
    is_asked: bool,
}

fn now(course: &Mutex<Course>) -> MutexGuard<'_, Course> {
    course.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes bytes on both ways until one of them ends.
async fn pass(client: &mut TcpStream, server: &mut TcpStream, shared: &Shared, own: Option<&Fault>) -> Outcome {
    // Small pieces go out at once.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let course = Mutex::new(Course { fault: own.cloned(), ..Course::default() });
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    tokio::select! {
        outcome = ask(from_client, to_server, &course, shared, own) => outcome,
        end = answer(from_server, to_client, &course) => Outcome::Ended(end),
    }
}

/// Passes on what the client says.
async fn ask(
    mut client: ReadHalf<'_>,
    mut server: WriteHalf<'_>,
    course: &Mutex<Course>,
    shared: &Shared,
    own: Option<&Fault>,
) -> Outcome {
    let mut requests = Requests::default();
    let mut buffer = vec![0; PIECE];
    loop {
        let read = match client.read(&mut buffer).await {
            Ok(0) => {
                // What is not answered yet may still be.
                let _ = server.shutdown().await;
                std::future::pending().await
            }
            Ok(read) => read,
            Err(_) => return Outcome::Ended(End::Reset),
        };
        for line in requests.begun(&buffer[..read]) {
            let fault = shared.strike(Some(&line));
            if let Some(Fault::Refuse(time)) = fault {
                shared.refuse(time);
            }
            if shared.refused_until().is_some() {
                return Outcome::Ended(End::Reset);
            }
            let mut course = now(course);
            match fault {
                Some(fault) => *course = Course { fault: Some(fault), ..Course::default() },
                None => course.fault = own.cloned(),
            }
        }
        let (fault, asked) = {
            let mut course = now(course);
            course.is_asked = true;
            course.asked += read as u64;
            (course.fault.clone(), course.asked - read as u64)
        };
        let bytes = &buffer[..read];
        let passed = match fault {
            Some(Fault::Silence) => Ok(()),
            Some(Fault::Answer(text)) if requests.is_whole() => return Outcome::Answered(text),
            Some(Fault::Answer(_)) => Ok(()),
            Some(Fault::CutRequest(after, end)) => match beginning(bytes, asked, after) {
                Some(beginning) => {
                    let _ = server.write_all(beginning).await;
                    return Outcome::Ended(end);
                }
                None => server.write_all(bytes).await,
            },
            Some(Fault::Slow(rate)) => slowly(&mut server, bytes, rate).await,
            _ => server.write_all(bytes).await,
        };
        if passed.is_err() {
            return Outcome::Ended(End::Reset);
        }
    }
}

/// Passes on what the server says.
async fn answer(mut server: ReadHalf<'_>, mut client: WriteHalf<'_>, course: &Mutex<Course>) -> End {
    let mut buffer = vec![0; PIECE];
    loop {
        let read = match server.read(&mut buffer).await {
            Ok(0) => return End::Closed,
            Ok(read) => read,
            Err(_) => return End::Reset,
        };
        let (fault, answered, is_first) = {
            let mut course = now(course);
            course.answered += read as u64;
            (course.fault.clone(), course.answered - read as u64, std::mem::take(&mut course.is_asked))
        };
        let bytes = &buffer[..read];
        let passed = match fault {
            Some(Fault::CutAnswer(after, end)) => match beginning(bytes, answered, after) {
                Some(beginning) => {
                    let _ = client.write_all(beginning).await;
                    return end;
                }
                None => client.write_all(bytes).await,
            },
            Some(Fault::Slow(rate)) => slowly(&mut client, bytes, rate).await,
            Some(Fault::Late(time)) if is_first => {
                sleep(time).await;
                client.write_all(bytes).await
            }
            _ => client.write_all(bytes).await,
        };
        if passed.is_err() {
            return End::Reset;
        }
    }
}

/// Of bytes before which so many have passed, those before a cut; `None` if the cut comes later.
fn beginning(bytes: &[u8], passed: u64, cut: u64) -> Option<&[u8]> {
    let left = usize::try_from(cut.saturating_sub(passed)).ok()?;
    bytes.get(..left).filter(|beginning| beginning.len() < bytes.len())
}

async fn slowly(to: &mut WriteHalf<'_>, bytes: &[u8], rate: u64) -> io::Result<()> {
    let step = usize::try_from(rate / STEPS).unwrap_or(PIECE).max(1);
    for piece in bytes.chunks(step) {
        to.write_all(piece).await?;
        sleep(Duration::from_millis(1000 / STEPS)).await;
    }
    Ok(())
}
