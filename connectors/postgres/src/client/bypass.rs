//! What `COPY … TO STDOUT` sends, taken past the client library.
//!
//! The library makes a message of each row, and hands them on 8 KiB at a time. Here the connection is read in large pieces.
//! The rows in them go on together to whoever asked for them, every other message goes on to the library as it came. So it
//! still learns of the end of the rows, of errors and of notices, and drives the connection.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures::channel::mpsc;
use futures::future::BoxFuture;
use futures::{Stream, StreamExt, TryFutureExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::CopyOutStream;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// What is read from the connection at once.
const READ_BYTES: usize = 128 << 10;
/// What is handed on at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks that may wait, beside the one that is made.
const WAITING: usize = 1;

/// What a message begins with: its kind, and its length without the kind.
const HEADER_BYTES: usize = 5;
const COPY_OUT_RESPONSE: u8 = b'H';
const COPY_DATA: u8 = b'd';
const COPY_DONE: u8 = b'c';
const ERROR_RESPONSE: u8 = b'E';

/// Where the rows of the next `COPY` go: put here by whoever asks for them, and taken when the server begins to send.
#[derive(Clone, Default)]
pub(super) struct Lane(Arc<Mutex<Option<mpsc::Sender<Bytes>>>>);

impl Lane {
    /// Asks for the rows of the next `COPY`.
    pub(super) fn open(&self) -> mpsc::Receiver<Bytes> {
        let (to, from) = mpsc::channel(WAITING);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(to);
        from
    }

    fn take(&self) -> Option<mpsc::Sender<Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What one `COPY … TO STDOUT` sends, cut anywhere.
pub(crate) struct Copied {
    rows: mpsc::Receiver<Bytes>,
    /// How it ends.
    end: Pin<Box<CopyOutStream>>,
}

impl Copied {
    pub(super) fn new(rows: mpsc::Receiver<Bytes>, end: CopyOutStream) -> Self {
        Self { rows, end: Box::pin(end) }
    }
}

impl Stream for Copied {
    type Item = Result<Bytes, tokio_postgres::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match ready!(self.rows.poll_next_unpin(cx)) {
            Some(rows) => Poll::Ready(Some(Ok(rows))),
            // There are no more, or the connection is gone.
            None => self.end.poll_next_unpin(cx),
        }
    }
}

/// A connection whose rows go another way.
pub(super) struct Bypass<S> {
    inner: S,
    lane: Lane,
    /// Where the rows go that come now.
    to: Option<mpsc::Sender<Bytes>>,
    read: Box<[u8]>,
    /// What of it nobody has looked at.
    unread: Range<usize>,
    at: At,
    chunk: BytesMut,
    /// How much of the chunk is whole messages.
    whole: usize,
}

/// What comes next.
#[derive(Debug, Clone, Copy)]
enum At {
    /// A message.
    Header,
    /// So many bytes for the library.
    Other(usize),
    /// So many bytes of a row.
    Row(usize),
}

impl<S> Bypass<S> {
    pub(super) fn new(inner: S, lane: Lane) -> Self {
        Self {
            inner,
            lane,
            to: None,
            read: vec![0; READ_BYTES].into_boxed_slice(),
            unread: 0..0,
            at: At::Header,
            chunk: BytesMut::new(),
            whole: 0,
        }
    }

    /// Takes rows as far as there are some.
    fn take_rows(&mut self) -> io::Result<()> {
        while self.chunk.len() < CHUNK_BYTES {
            let bytes = &self.read[self.unread.clone()];
            match self.at {
                At::Row(0) => (self.at, self.whole) = (At::Header, self.chunk.len()),
                At::Row(_) if bytes.is_empty() => break,
                At::Row(left) => {
                    let more = left.min(bytes.len()).min(CHUNK_BYTES - self.chunk.len());
                    if self.to.is_some() {
                        self.chunk.extend_from_slice(&bytes[..more]);
                    }
                    self.unread.start += more;
                    self.at = At::Row(left - more);
                }
                At::Header => match bytes.first_chunk::<HEADER_BYTES>() {
                    Some(&[COPY_DATA, length @ ..]) => {
                        let length = all_of(length)?.checked_sub(4).ok_or(io::ErrorKind::InvalidData)?;
                        self.unread.start += HEADER_BYTES;
                        self.at = At::Row(length);
                    }
                    _ => break,
                },
                At::Other(_) => break,
            }
        }
        Ok(())
    }

    /// Hands on the rows that there are, in whole messages unless one of them is too large for that.
    fn poll_hand_on(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let ready = if self.whole > 0 { self.whole } else { self.chunk.len() };
        if ready == 0 {
            return Poll::Ready(());
        }
        let to = match &mut self.to {
            Some(to) => ready!(to.poll_ready(cx)).ok().map(|()| to),
            None => None,
        };
        let rows = self.chunk.split_to(ready).freeze();
        self.whole = 0;
        match to.map(|to| to.start_send(rows)) {
            Some(Ok(())) => self.chunk.reserve(CHUNK_BYTES - self.chunk.len()),
            // Nobody wants them any more.
            _ => (self.to, self.chunk) = (None, BytesMut::new()),
        }
        Poll::Ready(())
    }
}

/// The length that a header says: that of its own four bytes and of what follows.
fn all_of(length: [u8; 4]) -> io::Result<usize> {
    usize::try_from(u32::from_be_bytes(length)).map_err(|_| io::ErrorKind::InvalidData.into())
}

impl<S: AsyncRead + Unpin> Bypass<S> {
    /// Reads on, and says how many bytes came: none at the end. What waits is handed on before nothing comes for a while.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        let mut buffer = ReadBuf::new(&mut self.read[self.unread.end..]);
        let Poll::Ready(read) = Pin::new(&mut self.inner).poll_read(cx, &mut buffer) else {
            if self.whole > 0 {
                ready!(self.poll_hand_on(cx));
            }
            return Poll::Pending;
        };
        read?;
        let more = buffer.filled().len();
        self.unread.end += more;
        Poll::Ready(Ok(more))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bypass<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        loop {
            if out.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            this.take_rows()?;
            let bytes = &this.read[this.unread.clone()];
            let header = bytes.first_chunk::<HEADER_BYTES>().copied();
            // Whether something is left to do that waits for nobody. Between rows, whoever wants them may be waited for.
            let goes_on = match this.at {
                At::Header => this.to.is_none() && header.is_some(),
                At::Other(_) => !bytes.is_empty(),
                At::Row(_) => false,
            };
            match (this.at, header) {
                // What is said here is lost if this then waits.
                _ if !goes_on && out.filled().len() > before => return Poll::Ready(Ok(())),
                _ if this.chunk.len() >= CHUNK_BYTES => ready!(this.poll_hand_on(cx)),
                (At::Other(0), _) => this.at = At::Header,
                (At::Other(left), _) if !bytes.is_empty() => {
                    let more = left.min(bytes.len()).min(out.remaining());
                    out.put_slice(&bytes[..more]);
                    this.unread.start += more;
                    this.at = At::Other(left - more);
                }
                (At::Header, Some([kind, length @ ..])) => {
                    // The end of the rows is told to nobody before they have them.
                    match kind {
                        COPY_OUT_RESPONSE => this.to = this.lane.take(),
                        COPY_DONE | ERROR_RESPONSE => {
                            ready!(this.poll_hand_on(cx));
                            this.to = None;
                        }
                        _ => {}
                    }
                    this.at = At::Other(all_of(length)?.max(4) + 1);
                }
                _ if ready!(this.poll_fill(cx))? == 0 => return Poll::Ready(Ok(())),
                _ => {}
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bypass<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Bypass<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner.channel_binding()
    }
}

/// Secures a connection, whose rows then go another way.
pub(super) struct Bypassing<T> {
    pub(super) tls: T,
    pub(super) lane: Lane,
}

impl<S, T> TlsConnect<S> for Bypassing<T>
where
    T: TlsConnect<S>,
    T::Future: Future<Output = Result<T::Stream, T::Error>> + Send + 'static,
    T::Stream: 'static,
    T::Error: 'static,
{
    type Stream = Bypass<T::Stream>;
    type Error = T::Error;
    type Future = BoxFuture<'static, Result<Self::Stream, T::Error>>;

    fn connect(self, stream: S) -> Self::Future {
        let lane = self.lane;
        Box::pin(self.tls.connect(stream).map_ok(|inner| Bypass::new(inner, lane)))
    }
}

#[cfg(test)]
mod tests;
