//! Which certificates of a server are believed: those of the system's authorities, those of a file besides, or any.
//!
//! A certificate that a server has signed itself is no authority's, and often says that it is one, which the library refuses
//! of a server: where the file has the very certificate that the server shows, it is believed as it is.

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::path::Path;
use std::sync::Arc;

/// Whose certificates are believed.
#[derive(Debug, Clone, Default)]
pub enum Trust {
    /// Those that the system believes.
    #[default]
    System,
    /// These as well, and what they have signed.
    Also(Vec<CertificateDer<'static>>),
    /// Any.
    Anything,
}

impl Trust {
    /// The certificates of a PEM file besides the system's. The error names the file.
    pub fn file(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let bytes = std::fs::read(path).map_err(|e| format!("{name}: {e}"))?;
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        let certificates = read.map_err(|e| format!("{name}: {e}"))?;
        if certificates.is_empty() {
            Err(format!("{name}: no certificate in it (PEM, `-----BEGIN CERTIFICATE-----`)"))
        } else {
            Ok(Self::Also(certificates))
        }
    }

    /// Connects to servers that are believed.
    pub(super) fn connector(&self, tcp: HttpConnector) -> Result<HttpsConnector<HttpConnector>, String> {
        let builder = HttpsConnectorBuilder::new();
        let builder = match self {
            // The system's roots know an office's own authority; a container may have none.
            Self::System => match builder.with_native_roots() {
                Ok(builder) => builder,
                Err(_) => HttpsConnectorBuilder::new().with_webpki_roots(),
            },
            Self::Also(certificates) => builder.with_tls_config(config(certificates, false)?),
            Self::Anything => builder.with_tls_config(config(&[], true)?),
        };
        Ok(builder.https_or_http().enable_http1().wrap_connector(tcp))
    }
}

fn config(certificates: &[CertificateDer<'static>], anything: bool) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots.add_parsable_certificates(certificates.iter().cloned());
    // Without any root the file's certificates are believed themselves, and nothing else.
    let signed = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().ok();
    let believes = CertificateVerifier { signed, shown: certificates.to_vec(), anything, provider: provider.clone() };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(believes)).with_no_client_auth())
}

#[derive(Debug)]
struct CertificateVerifier {
    signed: Option<Arc<WebPkiServerVerifier>>,
    shown: Vec<CertificateDer<'static>>,
    anything: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for CertificateVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.anything || self.shown.iter().any(|shown| shown.as_ref() == end_entity.as_ref()) {
            return Ok(ServerCertVerified::assertion());
        }
        match &self.signed {
            Some(signed) => signed.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now),
            None => Err(Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What to do about a connection that TLS has refused; empty where that is not why.
pub(super) fn hint(error: &(dyn std::error::Error + 'static)) -> &'static str {
    let Some(error) = super::causes(error).find_map(tls_error) else { return "" };
    match error {
        Error::InvalidCertificate(_) => {
            "; --ca-cert FILE believes a private or self-signed certificate, --insecure any"
        }
        Error::InvalidMessage(_) => "; the server may speak no TLS at this port: http://?",
        _ => "",
    }
}

/// The library's errors come within those of the system, which do not show what they hold as their cause.
fn tls_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a Error> {
    match cause.downcast_ref::<std::io::Error>() {
        Some(held) => tls_error(held.get_ref()?),
        None => cause.downcast_ref::<Error>(),
    }
}
