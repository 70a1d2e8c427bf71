//! One connection, and the release sections of the answers on it.
//!
//! Hyper drops a body before it flushes, and rustls buffers too, so the end of an answer is neither the end of its
//! handler nor of its body. A section therefore belongs to the connection: it ends when a flush that began after the
//! body's end has put every byte into the kernel, or with the connection itself.

use std::{
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use kms_client::id::RequestId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{cluster::Section, flush_trace, policy::Policies};

/// The sections that are open on one connection. Clones share them.
#[derive(Clone, Default)]
pub struct Sections(Arc<Mutex<Vec<Held>>>);

/// One open section.
struct Held {
    request: RequestId,
    section: Section<Policies>,
    /// How long the client may take to read, from the first moment it did not.
    patience: Duration,
    /// Whether the whole answer is in the connection's buffers.
    buffered: bool,
    /// Made when the client first does not read.
    overdue: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

/// The body of an answer; its end tells the connection that the whole answer is buffered.
pub struct AnswerBody {
    bytes: Full<Bytes>,
    sections: Option<Sections>,
}

/// A stream that ends sections when their answers are flushed, and itself when a section is overdue.
pub(super) struct Guarded<S> {
    stream: S,
    sections: Sections,
}

impl Sections {
    /// The body of an answer whose section this connection holds from now on.
    #[must_use]
    pub fn guard(
        &self,
        request: RequestId,
        bytes: Bytes,
        section: Section<Policies>,
        patience: Duration,
    ) -> AnswerBody {
        self.held().push(Held { request, section, patience, buffered: false, overdue: None });
        AnswerBody { bytes: Full::new(bytes), sections: Some(self.clone()) }
    }

    /// Ends every section; nothing more can leave on the connection.
    pub(super) fn close(&self) {
        self.held().clear();
    }

    /// How many sections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.held().len()
    }

    fn buffered(&self) {
        // Answers leave a connection in their order (HTTP/1.1), so it is the first that is not yet buffered.
        if let Some(held) = self.held().iter_mut().find(|held| !held.buffered) {
            held.buffered = true;
        }
    }

    fn flushed(&self) {
        self.held().retain(|held| {
            if held.buffered {
                flush_trace::flushed(held.request, held.section.snapshot().revision);
            }
            !held.buffered
        });
    }

    /// Whether some section may last no longer. Only asked while the client does not read.
    fn poll_overdue(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut held = self.held();
        let overdue = held.iter_mut().any(|held| held.overdue().as_mut().poll(context).is_ready());
        if overdue { Poll::Ready(()) } else { Poll::Pending }
    }

    fn held(&self) -> MutexGuard<'_, Vec<Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn overdue(&mut self) -> &mut Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        let (section, patience) = (&self.section, self.patience);
        self.overdue.get_or_insert_with(|| {
            let waited_for = section.overdue();
            Box::pin(async move {
                let _either = tokio::time::timeout(patience, waited_for).await;
            })
        })
    }
}

impl AnswerBody {
    /// A body that tells nobody anything: a refusal, or a document.
    #[must_use]
    pub fn open(bytes: Bytes) -> Self {
        Self { bytes: Full::new(bytes), sections: None }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.bytes).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if let Some(sections) = &self.sections {
            sections.buffered();
        }
    }
}

impl<S> Guarded<S> {
    pub(super) const fn new(stream: S, sections: Sections) -> Self {
        Self { stream, sections }
    }

    /// While the kernel takes nothing, time runs against the sections that are open.
    fn or_overdue<T>(&self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_pending() && self.sections.poll_overdue(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.or_overdue(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.or_overdue(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// INVARIANT: hyper flushes only when its own buffer is empty, and rustls reports a flush only when TCP has taken
    /// the last record; so after a flush every answer whose body has ended is in the kernel.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        ready!(self.or_overdue(context, flushed))?;
        self.sections.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.or_overdue(context, shut)
    }
}

impl fmt::Debug for Sections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sections").field("open", &self.open()).finish()
    }
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerBody").field("guarded", &self.sections.is_some()).finish_non_exhaustive()
    }
}
