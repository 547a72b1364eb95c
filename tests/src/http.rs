//! HTTP/1.1 over a socket, whose every byte the caller decides: requests that no library would send, answers with their
//! trailers, and bodies as they come. Knows nothing of journals.
#![expect(clippy::disallowed_methods, reason = "the seam at which tests open connections")]

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// No answer of a healthy broker takes that long.
const DEADLINE: Duration = Duration::from_secs(60);

/// An answer, whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Names in small letters, and values.
    pub headers: Vec<(String, String)>,
    /// What was transferred.
    pub body: Vec<u8>,
    /// Of a chunked body, like headers.
    pub trailers: Vec<(String, String)>,
}

impl Answer {
    /// The first header of this name, in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The first trailer of this name, in small letters.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        find(&self.trailers, name)
    }

    /// A header that is a number.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.header(name)?.parse().ok()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// How the body of an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    Close,
}

/// A connection, with at most one request under way.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    framing: Framing,
    trailers: Vec<(String, String)>,
}

impl Connection {
    /// Opens one.
    ///
    /// # Errors
    /// As those of the socket.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = within(TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), framing: Framing::Length(0), trailers: Vec::new() })
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// As those of the socket.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        within(self.stream.get_mut().write_all(bytes)).await
    }

    /// Sends a request with a length, and takes the whole answer.
    ///
    /// # Errors
    /// When the connection ends before the answer does.
    pub async fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer> {
        self.begin(method, target, headers, body).await?;
        self.answer(method).await
    }

    /// Sends a request with a length.
    ///
    /// # Errors
    /// As those of the socket.
    pub async fn begin(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<()> {
        let mut request = format!("{method} {target} HTTP/1.1\r\nhost: courant\r\n");
        if method == "PUT" || method == "POST" || !body.is_empty() {
            request.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        let mut request = request.into_bytes();
        request.extend_from_slice(body);
        self.send(&request).await
    }

    /// Takes an answer to its end.
    ///
    /// # Errors
    /// When the connection ends before the answer does.
    pub async fn answer(&mut self, method: &str) -> Result<Answer> {
        let head = self.head(method).await?;
        let rest = self.answer_rest().await?;
        Ok(Answer { status: head.status, headers: head.headers, ..rest })
    }

    /// Takes the rest of a body whose head was taken.
    ///
    /// # Errors
    /// When the connection ends before the body does.
    pub async fn answer_rest(&mut self) -> Result<Answer> {
        let mut answer = Answer::default();
        while let Some(part) = self.part().await? {
            answer.body.extend_from_slice(&part);
        }
        answer.trailers = std::mem::take(&mut self.trailers);
        Ok(answer)
    }

    /// Takes an answer without its body.
    ///
    /// # Errors
    /// When the connection ends, or what comes is no answer.
    pub async fn head(&mut self, method: &str) -> Result<Answer> {
        loop {
            let line = self.line().await?;
            let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
            let status: u16 = status.ok_or_else(|| broken(&line))?;
            let headers = self.fields().await?;
            if status == 100 {
                continue;
            }
            let length = find(&headers, "content-length").map(|length| length.parse::<usize>());
            let chunked =
                find(&headers, "transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"));
            self.framing = match length {
                _ if method == "HEAD" || status == 204 || status == 304 => Framing::Length(0),
                _ if chunked => Framing::Chunked,
                Some(Ok(length)) => Framing::Length(length),
                Some(Err(_)) => return Err(broken("content-length")),
                None => Framing::Close,
            };
            return Ok(Answer { status, headers, ..Answer::default() });
        }
    }

    /// The next bytes of the body; None at its end.
    ///
    /// # Errors
    /// When the connection ends before the body does.
    pub async fn part(&mut self) -> Result<Option<Vec<u8>>> {
        within(async {
            match self.framing {
                Framing::Length(0) => Ok(None),
                Framing::Length(length) => {
                    let mut part = vec![0; length.min(64 << 10)];
                    let read = self.stream.read(&mut part).await?;
                    if read == 0 {
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                    part.truncate(read);
                    self.framing = Framing::Length(length - read);
                    Ok(Some(part))
                }
                Framing::Chunked => {
                    let line = self.line().await?;
                    let length = usize::from_str_radix(line.trim(), 16).map_err(|_| broken(&line))?;
                    if length == 0 {
                        self.trailers = self.fields().await?;
                        self.framing = Framing::Length(0);
                        return Ok(None);
                    }
                    let mut part = vec![0; length + 2];
                    self.stream.read_exact(&mut part).await?;
                    part.truncate(length);
                    Ok(Some(part))
                }
                Framing::Close => {
                    let mut part = vec![0; 64 << 10];
                    let read = self.stream.read(&mut part).await?;
                    part.truncate(read);
                    Ok((read > 0).then_some(part))
                }
            }
        })
        .await
    }

    /// Whether the other side has closed the connection, within a while.
    pub async fn closes(&mut self) -> bool {
        let mut rest = Vec::new();
        within(self.stream.read_to_end(&mut rest)).await.is_ok_and(|_| rest.is_empty())
    }

    async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        within(self.stream.read_line(&mut line)).await?;
        if line.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    async fn fields(&mut self) -> Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(':').ok_or_else(|| broken(&line))?;
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
}

fn broken(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("not an answer of HTTP/1.1: {what:?}"))
}

async fn within<T>(io: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(DEADLINE, io).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

/// One request over a connection of its own.
///
/// # Errors
/// When there is no answer, or not a whole one.
pub async fn once(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer> {
    Connection::open(address).await?.request(method, target, headers, body).await
}
