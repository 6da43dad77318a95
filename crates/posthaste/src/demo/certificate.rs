//! The endpoint's certificate, signed by an authority made for this run, and what it takes to verify it.

use std::sync::Arc;

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Whom the certificate names.
pub(super) const HOST: &str = "localhost";

/// An authority that nobody else trusts.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl Authority {
    pub(super) fn new() -> anyhow::Result<Authority> {
        let key = KeyPair::generate().context("cannot make a key")?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "posthaste demo authority");
        let certificate = params.self_signed(&key)?;
        let (pem, certificate) = (certificate.pem(), certificate.der().clone());
        Ok(Authority { issuer: Issuer::new(params, key), certificate, pem })
    }

    /// Its certificate, PEM: what a client is told to trust.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// A server for [`HOST`], with a certificate of this authority. HTTP/1.1 is all it offers.
    pub(super) fn server(&self) -> anyhow::Result<Arc<ServerConfig>> {
        let key = KeyPair::generate().context("cannot make a key")?;
        let mut params = CertificateParams::new(vec![HOST.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, HOST);
        let certificate = params.signed_by(&key, &self.issuer)?;
        let chain = vec![certificate.der().clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let server = server.with_safe_default_protocol_versions()?.with_no_client_auth();
        let mut server = server.with_single_cert(chain, key)?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(server))
    }

    /// A client that trusts this authority and no other, and remembers no session: each of its handshakes is a full one,
    /// as those of a client that is made for a request.
    pub(super) fn forgetful_client(&self) -> anyhow::Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let client = client.with_safe_default_protocol_versions()?.with_root_certificates(roots);
        let mut client = client.with_no_client_auth();
        client.resumption = Resumption::disabled();
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(client))
    }
}
