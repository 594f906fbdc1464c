//! HTTP requests in a stream of bytes.

/// Longer than the head of any request.
const LONGEST_HEAD: usize = 1 << 16;

/// The requests in what a client says.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// The beginning of a head.
    head: Vec<u8>,
    /// Bytes of the body that are to come.
    body: usize,
}

impl Requests {
    /// The first lines of the requests whose heads end in these bytes, which come behind those before.
    pub(super) fn begun(&mut self, mut bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        while !bytes.is_empty() {
            let of_body = self.body.min(bytes.len());
            self.body -= of_body;
            bytes = &bytes[of_body..];
            let known = self.head.len();
            self.head.extend_from_slice(bytes);
            let end = self.head.windows(4).skip(known.saturating_sub(3)).position(|four| four == b"\r\n\r\n");
            let Some(end) = end.map(|at| at + known.saturating_sub(3)) else {
                // It is no HTTP, and there may never be an end.
                if self.head.len() > LONGEST_HEAD {
                    self.head.clear();
                }
                break;
            };
            let head = String::from_utf8_lossy(&self.head[..end]).into_owned();
            bytes = &bytes[end + 4 - known..];
            self.head.clear();
            self.body = length(&head);
            lines.push(head.lines().next().unwrap_or_default().to_string());
        }
        lines
    }

    /// Whether the last request has come in full.
    pub(super) fn is_whole(&self) -> bool {
        self.head.is_empty() && self.body == 0
    }
}

/// The length of the body behind a head. Clients of stores know it before they begin.
pub(super) fn length(head: &str) -> usize {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let stated = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    stated.and_then(|(_, length)| length.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_found_however_they_are_cut() {
        let said = b"PUT /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\n\r\n";
        for step in 1..said.len() {
            let mut requests = Requests::default();
            let lines: Vec<String> = said.chunks(step).flat_map(|piece| requests.begun(piece)).collect();
            assert_eq!(lines, ["PUT /a HTTP/1.1", "GET /b HTTP/1.1"], "{step}");
            assert!(requests.is_whole());
        }
    }
}
