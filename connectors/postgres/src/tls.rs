//! How the way to a server is secured.
//!
//! TLS is rustls with ring, which is given to it each time: nothing depends on what the process has chosen for others.

mod refusal;

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, InconsistentKeys, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;
use transload_core::{Error, Resolve, Result, Template};

use crate::client::Socket;
use crate::options::{Tls, TlsMode, is_socket};

pub(crate) use self::refusal::explain;

/// How connections to a server are secured.
#[derive(Clone)]
pub(crate) enum Encryption {
    /// Not at all: there is none on a unix socket, and elsewhere somebody wants it so.
    Plain,
    /// By TLS.
    Tls(MakeRustlsConnect),
}

/// Reads the certificates of a connection.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if a file cannot be read or is not what it must be.
pub(crate) fn encryption(tls: &Tls, host: &str, resolver: &dyn Resolve) -> Result<Encryption> {
    if is_socket(host) {
        return Ok(Encryption::Plain);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::internal("TLS cannot be set up").because(e))?;
    let builder = match tls.mode {
        TlsMode::Disable => return Ok(Encryption::Plain),
        TlsMode::Require => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer { algorithms })),
        TlsMode::VerifyFull => builder.with_root_certificates(roots(tls, resolver)?),
    };
    let config = match (&tls.client_cert, &tls.client_key) {
        (Some(cert), Some(key)) => {
            let certs = certificates("client_cert", cert, resolver)?;
            builder.with_client_auth_cert(certs, private_key(key, resolver)?).map_err(|e| unfit_key(&e, cert, key))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Encryption::Tls(MakeRustlsConnect::new(config)))
}

/// What secures one connection with a host.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if no certificate can be for it.
pub(crate) fn connector(
    tls: &MakeRustlsConnect,
    host: &str,
) -> Result<<MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect> {
    let made = MakeTlsConnect::<Socket>::make_tls_connect(&mut tls.clone(), host);
    made.map_err(|e| Error::config("`host` is not a name that a certificate can be for").because(e.to_string()))
}

/// Those who may vouch for a server: those of the given file alone, or those of the system.
fn roots(tls: &Tls, resolver: &dyn Resolve) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match &tls.root_cert {
        Some(file) => {
            for cert in certificates("root_cert", file, resolver)? {
                roots.add(cert).map_err(|e| unfit("root_cert", file).because(e))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(Error::config("this system trusts no one to vouch for a server: it has no certificates")
                    .hint("install its package ca-certificates, or name a file with `tls: { root_cert: … }`"));
            }
        }
    }
    Ok(roots)
}

fn certificates(name: &'static str, file: &Template, resolver: &dyn Resolve) -> Result<Vec<CertificateDer<'static>>> {
    let pem = read(name, file, resolver)?;
    let certs: Vec<_> = CertificateDer::pem_slice_iter(pem.expose_secret().as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| unfit(name, file))?;
    if certs.is_empty() { Err(unfit(name, file)) } else { Ok(certs) }
}

fn private_key(file: &Template, resolver: &dyn Resolve) -> Result<PrivateKeyDer<'static>> {
    let pem = read("client_key", file, resolver)?;
    PrivateKeyDer::from_pem_slice(pem.expose_secret().as_bytes()).map_err(|_| {
        let is_locked = pem.expose_secret().contains("ENCRYPTED");
        let error = Error::config("the file of a private key holds none that can be used");
        error.with("client_key", file.as_written()).hint(match is_locked {
            true => "its key has a passphrase: take that off with `openssl pkey`, and keep the file to yourself",
            false => "it is PEM: the key stands after a line `-----BEGIN PRIVATE KEY-----`",
        })
    })
}

fn read(name: &'static str, file: &Template, resolver: &dyn Resolve) -> Result<SecretString> {
    let path = file.resolve(resolver)?;
    resolver
        .file(path.expose_secret())
        .map_err(|e| Error::config("a file of `tls` cannot be read").with(name, file.as_written()).because(e))
}

fn unfit(name: &'static str, file: &Template) -> Error {
    Error::config("a file of certificates holds none, or none that can be used")
        .with(name, file.as_written())
        .hint("it is PEM: each certificate stands after a line `-----BEGIN CERTIFICATE-----`")
}

fn unfit_key(error: &rustls::Error, cert: &Template, key: &Template) -> Error {
    let message = match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "`client_key` is not the key of `client_cert`"
        }
        _ => "`client_cert` and `client_key` cannot be used",
    };
    Error::config(message).with("client_cert", cert.as_written()).with("client_key", key.as_written())
}

/// Lets every server be the right one, as `require` says. That it holds the key of the certificate that it shows is
/// checked, so nobody reads along who does not answer in its place.
#[derive(Debug)]
struct AnyServer {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use transload_core::ErrorKind;

    use super::*;

    const AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----
MIIBnTCCAUOgAwIBAgIUexJ4u9zsNUKkvxRTNCAtJpVnrP4wCgYIKoZIzj0EAwIw
IzEhMB8GA1UEAwwYdHJhbnNsb2FkIHRlc3QgYXV0aG9yaXR5MCAXDTI2MTEzMDIy
MTYxM1oYDzIxMjYxMTA2MjIxNjEzWjAjMSEwHwYDVQQDDBh0cmFuc2xvYWQgdGVz
dCBhdXRob3JpdHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARVskjSpsAGRdSs
FGW623R/0hh6dzefidId/y4TUQWF1473YlGC2NMMzDLF+CuLtok66QcVPenskkbf
eSPmw2cUo1MwUTAdBgNVHQ4EFgQUOf/7YQZ2gPWMBuIIR+Wbs/SR/U8wHwYDVR0j
BBgwFoAUOf/7YQZ2gPWMBuIIR+Wbs/SR/U8wDwYDVR0TAQH/BAUwAwEB/zAKBggq
hkjOPQQDAgNIADBFAiBggbg3TG61/hDmBMOt9XxsqSdRd4IIAcVYN90KP5U6cgIh
AO0nE7ZOKtsyxchB5/0vVd2/oj8IUCMYxDWljMHii+yn
-----END CERTIFICATE-----
";

    struct Files;

    impl Resolve for Files {
        fn env(&self, _: &str) -> Option<SecretString> {
            None
        }

        fn file(&self, path: &str) -> std::io::Result<SecretString> {
            let text = match path {
                "ca.pem" => AUTHORITY.to_string(),
                "two.pem" => format!("the first\n{AUTHORITY}the second\n{AUTHORITY}"),
                "cut.pem" => AUTHORITY[..200].to_string(),
                "odd.pem" => AUTHORITY.replace("MIIBnTCC", "MIIBmTCC"),
                "locked.pem" => {
                    "-----BEGIN ENCRYPTED PRIVATE KEY-----\ns3cr3t\n-----END ENCRYPTED PRIVATE KEY-----".to_string()
                }
                "empty.pem" => String::new(),
                _ => return Err(std::io::ErrorKind::NotFound.into()),
            };
            Ok(SecretString::from(text))
        }
    }

    fn template(text: &str) -> Template {
        Template::parse(text).unwrap()
    }

    fn tls(mode: TlsMode, root: Option<&str>, client: Option<(&str, &str)>) -> Tls {
        Tls {
            mode,
            root_cert: root.map(template),
            client_cert: client.map(|(cert, _)| template(cert)),
            client_key: client.map(|(_, key)| template(key)),
        }
    }

    #[test]
    fn only_what_is_written_is_trusted() {
        for (file, count) in [("ca.pem", 1), ("two.pem", 2)] {
            let tls = tls(TlsMode::VerifyFull, Some(file), None);
            assert_eq!(roots(&tls, &Files).unwrap().len(), count, "{file}");
            assert!(matches!(encryption(&tls, "h", &Files), Ok(Encryption::Tls(_))));
            assert!(matches!(encryption(&tls, "/run/postgresql", &Files), Ok(Encryption::Plain)));
        }
        assert!(matches!(encryption(&tls(TlsMode::Require, None, None), "h", &Files), Ok(Encryption::Tls(_))));
        assert!(matches!(encryption(&tls(TlsMode::Disable, None, None), "h", &Files), Ok(Encryption::Plain)));
    }

    #[test]
    fn files_that_are_not_what_they_must_be_are_named_and_not_shown() {
        for (root, client, wanted) in [
            ("gone.pem", None, "root_cert gone.pem"),
            ("cut.pem", None, "root_cert cut.pem"),
            ("odd.pem", None, "root_cert odd.pem"),
            ("empty.pem", None, "root_cert empty.pem"),
            ("ca.pem", Some(("empty.pem", "locked.pem")), "client_cert empty.pem"),
            ("ca.pem", Some(("ca.pem", "empty.pem")), "client_key empty.pem"),
            ("ca.pem", Some(("ca.pem", "locked.pem")), "client_key locked.pem"),
        ] {
            let tls = tls(TlsMode::VerifyFull, Some(root), client);
            let error = encryption(&tls, "h", &Files).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(wanted), "{error}");
            assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
        }
    }
}
