//! Why TLS fails: what is wrong with the server, with its certificate or with the user's.

use chrono::DateTime;
use rustls::{AlertDescription, CertificateError};
use rustls_pki_types::UnixTime;
use transload_core::Error;

/// What it means that TLS fails.
pub(crate) fn explain(error: &rustls::Error) -> Error {
    use rustls::Error as E;
    match error {
        E::InvalidCertificate(reason) => distrusted(reason),
        E::AlertReceived(alert) => refused(*alert),
        E::NoCertificatesPresented => Error::config("the server shows no certificate"),
        E::InvalidMessage(_) | E::InappropriateMessage { .. } | E::InappropriateHandshakeMessage { .. } => {
            Error::config("what answers does not speak TLS as it should")
                .hint("check that `host` and `port` are those of a PostgreSQL server")
        }
        E::PeerIncompatible(_) => no_common_way(),
        // What was in order before was changed on the way.
        other => Error::transient("the encrypted connection to the server broke").because(other.to_string()),
    }
}

/// Why a server's certificate proves nothing.
fn distrusted(reason: &CertificateError) -> Error {
    use CertificateError as C;
    match reason {
        C::UnknownIssuer | C::BadSignature => Error::config(
            "the server's certificate is not signed by anyone who is trusted here",
        )
        .hint("name the file of its authority with `tls: { root_cert: … }`; else those count whom the system trusts"),
        C::Expired | C::ExpiredContext { .. } => {
            let error = Error::config("the server's certificate has run out").hint("it needs a new one");
            match reason {
                C::ExpiredContext { not_after, .. } => error.with("on", day(not_after)),
                _ => error,
            }
        }
        C::NotValidYet | C::NotValidYetContext { .. } => Error::config("the server's certificate is not valid yet")
            .hint("check the clock of this machine and that of whoever made the certificate"),
        C::NotValidForName => other_name(),
        C::NotValidForNameContext { presented, .. } => {
            let names: Vec<&str> = presented.iter().filter_map(|name| presented_name(name)).collect();
            match names.is_empty() {
                true => Error::config("the server's certificate names no host")
                    .hint("names must stand in it as subject alternative names: the common name does not count"),
                false => other_name().with("it is for", names.join(", ")),
            }
        }
        C::Revoked => Error::config("the server's certificate was revoked").hint("it needs a new one"),
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => {
            Error::config("the server's certificate is not one for servers").hint("it needs another one")
        }
        // How webpki names them.
        C::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            Error::config("the server's certificate is that of an authority, not of a server")
                .hint("make one for the server, signed by that authority and with CA:FALSE")
        }
        C::Other(other) if other.to_string().contains("UnsupportedCertVersion") => {
            Error::config("the server's certificate is of an old version").hint("make one of version 3")
        }
        other => Error::config("the server's certificate cannot be used").because(other.to_string()),
    }
}

fn other_name() -> Error {
    Error::config("the server's certificate is for another name than `host`")
        .hint("write one of its names as `host`, or give the server a certificate for this one")
}

/// A name out of `DnsName("a")` or `IpAddress(1.2.3.4)`, as webpki shows it.
fn presented_name(shown: &str) -> Option<&str> {
    let name = shown.strip_prefix("DnsName(").or_else(|| shown.strip_prefix("IpAddress("))?;
    let name = name.strip_suffix(')')?.trim_matches('"');
    name.bytes().all(|b| b.is_ascii_graphic()).then_some(name)
}

fn day(time: &UnixTime) -> String {
    let time = i64::try_from(time.as_secs()).ok().and_then(|secs| DateTime::from_timestamp(secs, 0));
    time.map_or_else(|| "a day long ago".to_string(), |time| time.date_naive().to_string())
}

/// What it means that the server ends the handshake.
fn refused(alert: AlertDescription) -> Error {
    use AlertDescription as A;
    match alert {
        A::CertificateRequired | A::NoCertificate => Error::config("the server asks for a certificate of the user")
            .hint("name its files with `tls: { client_cert: …, client_key: … }`"),
        A::BadCertificate
        | A::UnsupportedCertificate
        | A::CertificateRevoked
        | A::CertificateExpired
        | A::CertificateUnknown
        | A::UnknownCA
        | A::AccessDenied => Error::config("the server does not take the user's certificate")
            .hint("it must be signed by an authority that the server trusts, and not have run out")
            .because(format!("{alert:?}")),
        A::HandshakeFailure | A::ProtocolVersion | A::InsufficientSecurity => no_common_way(),
        A::UnrecognisedName => Error::config("the server does not know itself by the name in `host`")
            .hint("write the name that its certificate is for"),
        other => Error::transient("the server ended the encrypted connection").because(format!("{other:?}")),
    }
}

fn no_common_way() -> Error {
    Error::config("the server and transload have no way to encrypt in common")
        .hint("the server must speak TLS 1.2 or 1.3: check its `ssl_max_protocol_version` and its `ssl_ciphers`")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls_pki_types::ServerName;
    use transload_core::ErrorKind;

    use super::*;

    #[test]
    fn each_reason_not_to_trust_a_server_has_its_own_sentence() {
        let day = UnixTime::since_unix_epoch(Duration::from_secs(86_400 * 365));
        let name = |presented: &[&str]| CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("h").unwrap(),
            presented: presented.iter().map(ToString::to_string).collect(),
        };
        for (reason, wanted) in [
            (CertificateError::UnknownIssuer, "not signed by anyone who is trusted here"),
            (CertificateError::ExpiredContext { time: day, not_after: day }, "has run out (on 1971-01-01)"),
            (name(&["DnsName(\"db\")", "IpAddress(10.0.0.1)"]), "another name than `host` (it is for db, 10.0.0.1)"),
            (name(&["DnsName(\"a\u{1b}[2J\")"]), "names no host"),
            (name(&[]), "names no host"),
        ] {
            let error = explain(&rustls::Error::InvalidCertificate(reason));
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(wanted), "{error}");
            assert!(error.hint_text().is_some());
        }
    }

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        for (error, kind) in [
            (rustls::Error::AlertReceived(AlertDescription::UnknownCA), ErrorKind::Config),
            (rustls::Error::AlertReceived(AlertDescription::CertificateRequired), ErrorKind::Config),
            (rustls::Error::AlertReceived(AlertDescription::ProtocolVersion), ErrorKind::Config),
            (rustls::Error::AlertReceived(AlertDescription::InternalError), ErrorKind::Transient),
            (rustls::Error::DecryptError, ErrorKind::Transient),
        ] {
            assert_eq!(explain(&error).kind(), kind, "{error}");
        }
    }
}
