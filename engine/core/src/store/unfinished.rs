//! The uploads that nobody has completed, as a server lists them.
//!
//! Only servers that speak as Amazon's do have such a list, and the library below has no request for it. So the request
//! is made here: to the address that the library uses, through a client that it has made, and with its signature.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsAuthorizer, AwsCredential, AwsCredentialProvider};
use object_store::client::{HttpClient, HttpConnector, HttpError, HttpRequest, HttpRequestBody, ReqwestConnector};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{ClientOptions, Error as StoreError, Result, StaticCredentialProvider};
use serde::Deserialize;
use tokio::sync::OnceCell;
use url::Url;

use super::again::Again;

/// What errors call the store.
const STORE: &str = "S3";
/// The region that counts where none is set, as the library has it.
const REGION: &str = "us-east-1";

/// An upload that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// Where the object will be.
    pub path: Path,
    /// The name that the server has given the upload.
    pub id: String,
    /// When it was begun.
    pub initiated: DateTime<Utc>,
}

/// A bucket that can be asked for its uploads.
#[async_trait]
pub trait Unfinished: Send + Sync {
    /// The uploads of what will be below a folder that are neither complete nor given up, in no order.
    ///
    /// # Errors
    /// As the server fails, and [`NotSupported`](object_store::Error::NotSupported) if its answer is no list of uploads.
    async fn unfinished(&self, folder: &Path) -> Result<Vec<Begun>>;
}

/// The uploads below a prefix of a bucket of Amazon's, or of a server that speaks as it does.
pub(super) struct S3Uploads {
    /// All that is known about how the bucket is reached.
    builder: AmazonS3Builder,
    credentials: AwsCredentialProvider,
    prefix: Path,
    again: Again,
    bucket: OnceCell<Bucket>,
}

/// Where the requests go.
struct Bucket {
    client: HttpClient,
    url: Url,
}

/// What makes the library's own client, and keeps it.
#[derive(Debug, Clone, Default)]
struct Kept(Arc<OnceLock<HttpClient>>);

impl HttpConnector for Kept {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(self.0.get_or_init(|| client).clone())
    }
}

/// One page of the list. See `ListMultipartUploads` in Amazon's reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    is_truncated: bool,
    next_key_marker: Option<String>,
    next_upload_id_marker: Option<String>,
    #[serde(default, rename = "Upload")]
    uploads: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    key: String,
    upload_id: String,
    initiated: Option<String>,
}

/// Behind what a page begins; nothing for the first one. Not every server sends both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Marker {
    key: String,
    upload: String,
}

impl Page {
    fn read(text: &[u8]) -> Result<Self> {
        quick_xml::de::from_reader(text).map_err(|e| StoreError::NotSupported { source: Box::new(e) })
    }

    /// Behind what the next page begins, if there is one.
    fn next(&self) -> Option<Marker> {
        let text = |marker: &Option<String>| marker.clone().unwrap_or_default();
        let next = Marker { key: text(&self.next_key_marker), upload: text(&self.next_upload_id_marker) };
        Some(next).filter(|next| self.is_truncated && *next != Marker::default())
    }
}

impl Listed {
    /// The upload, its place below a prefix; `None` for a name that is no path, or lies elsewhere.
    fn below(self, prefix: &Path) -> Option<Begun> {
        let full = Path::parse(&self.key).ok()?;
        let path = full.prefix_match(prefix)?.collect();
        let initiated = self.initiated.and_then(|time| DateTime::parse_from_rfc3339(&time).ok());
        // Of what nobody knows how old it is, it is not said that it is old.
        let initiated = initiated.map_or(DateTime::<Utc>::MAX_UTC, |time| time.to_utc());
        Some(Begun { path, id: self.upload_id, initiated })
    }
}

impl S3Uploads {
    /// Of a bucket that `builder` can open. `credentials` are those with which it was opened. No request is made.
    pub(super) fn new(
        builder: AmazonS3Builder,
        credentials: AwsCredentialProvider,
        prefix: Path,
        again: Again,
    ) -> Self {
        Self { builder, credentials, prefix, again, bucket: OnceCell::new() }
    }

    /// Finds out where requests go. The library tells an address only when it signs one: it is signed for nobody, and
    /// what is signed is thrown away.
    async fn reach(&self) -> Result<Bucket> {
        let kept = Kept::default();
        let nobody = AwsCredential { key_id: String::new(), secret_key: String::new(), token: None };
        let builder = self.builder.clone().with_credentials(Arc::new(StaticCredentialProvider::new(nobody)));
        let objects = builder.with_http_connector(kept.clone()).build()?;
        let get = HttpRequest::new(HttpRequestBody::empty()).method().clone();
        let mut url = objects.signed_url(get, &Path::default(), Duration::from_secs(1)).await?;
        url.set_query(None);
        let path = url.path().trim_end_matches('/').to_string();
        url.set_path(&path);
        let client = kept.0.get().cloned();
        let client = client.ok_or_else(|| failed("a bucket was opened without a client".to_string()))?;
        Ok(Bucket { client, url })
    }

    /// Whether a flag is set, in the words that the library takes.
    fn is_set(&self, flag: &AmazonS3ConfigKey) -> bool {
        let value = self.builder.get_config_value(flag).unwrap_or_default().to_ascii_lowercase();
        ["1", "true", "on", "yes", "y"].contains(&value.as_str())
    }

    /// The request for a page, signed unless the bucket is asked without credentials.
    async fn request(&self, bucket: &Url, folder: &Path, after: &Marker) -> Result<HttpRequest> {
        let url = url_of(bucket, folder, after);
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = url.as_str().parse().map_err(|_| failed(format!("{url} is no address")))?;
        if !self.is_set(&AmazonS3ConfigKey::SkipSignature) {
            let credential = self.credentials.get_credential().await?;
            let region = self.builder.get_config_value(&AmazonS3ConfigKey::Region);
            AwsAuthorizer::new(&credential, "s3", region.as_deref().unwrap_or(REGION))
                .with_request_payer(self.is_set(&AmazonS3ConfigKey::RequestPayer))
                .authorize(&mut request, None);
        }
        Ok(request)
    }
}

#[async_trait]
impl Unfinished for S3Uploads {
    async fn unfinished(&self, folder: &Path) -> Result<Vec<Begun>> {
        let bucket = self.bucket.get_or_try_init(|| self.reach()).await?;
        let folder: Path = self.prefix.parts().chain(folder.parts()).collect();
        let mut found = Vec::new();
        let mut after = Marker::default();
        loop {
            let request = self.request(&bucket.url, &folder, &after).await?;
            let answer = self.again.until_answered(|| ask(&bucket.client, request.clone())).await?;
            let page = Page::read(&answer)?;
            let next = page.next();
            found.extend(page.uploads.into_iter().filter_map(|listed| listed.below(&self.prefix)));
            match next {
                // Whoever is sent back to where they are would not come to an end.
                Some(next) if next != after => after = next,
                _ => return Ok(found),
            }
        }
    }
}

/// The address of a page of the uploads below a folder of a bucket.
fn url_of(bucket: &Url, folder: &Path, after: &Marker) -> Url {
    let prefix = if folder.is_root() { String::new() } else { format!("{folder}/") };
    let asked = [("prefix", &prefix), ("key-marker", &after.key), ("upload-id-marker", &after.upload)];
    let mut url = bucket.clone();
    url.query_pairs_mut()
        .append_pair("uploads", "")
        .extend_pairs(asked.into_iter().filter(|(_, value)| !value.is_empty()));
    url
}

/// What the server answers to one request. Errors have the form of the library's, which `answer.rs` takes apart.
async fn ask(client: &HttpClient, request: HttpRequest) -> Result<Bytes> {
    let unheard = |error: HttpError| StoreError::Generic { store: STORE, source: Box::new(error) };
    let url = request.uri().to_string();
    let response = client.execute(request).await.map_err(unheard)?;
    let status = response.status();
    let body = response.into_body().bytes().await.map_err(unheard)?;
    match status.is_success() {
        true => Ok(body),
        false => Err(failed(format!(
            "Error performing GET {url} - Server returned non-2xx status code: {status}: {}",
            String::from_utf8_lossy(&body)
        ))),
    }
}

fn failed(said: String) -> StoreError {
    StoreError::Generic { store: STORE, source: said.into() }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use object_store::RetryConfig;
    use object_store::client::{HttpResponse, HttpService};

    use super::*;
    use crate::store::answer;

    /// A server that gives its answers one after the other, and remembers what it was asked.
    #[derive(Debug, Clone)]
    struct Server(Arc<Mutex<Said>>);

    #[derive(Debug)]
    struct Said {
        answers: Vec<(u16, String)>,
        asked: Vec<HttpRequest>,
    }

    #[async_trait]
    impl HttpService for Server {
        async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
            let mut said = self.0.lock().unwrap();
            said.asked.push(request);
            let (status, text) = said.answers.remove(0);
            let mut response = HttpResponse::new(text.into());
            *response.status_mut() = status.try_into().unwrap();
            Ok(response)
        }
    }

    impl Server {
        /// One that gives these answers.
        fn new(answers: &[(u16, &str)]) -> Self {
            let answers = answers.iter().map(|(status, text)| (*status, (*text).to_string())).collect();
            Self(Arc::new(Mutex::new(Said { answers, asked: Vec::new() })))
        }

        /// The paths and queries that it was asked for.
        fn asked(&self) -> Vec<String> {
            self.0.lock().unwrap().asked.iter().map(|request| request.uri().to_string()).collect()
        }

        fn is_signed(&self) -> bool {
            self.0.lock().unwrap().asked.iter().all(|request| request.headers().contains_key("authorization"))
        }
    }

    fn builder() -> AmazonS3Builder {
        AmazonS3Builder::new()
            .with_endpoint("http://127.0.0.1:9000")
            .with_allow_http(true)
            .with_bucket_name("lake")
            .with_access_key_id("id")
            .with_secret_access_key("s3cr3t")
    }

    /// The uploads below `a/b` of a bucket on a server.
    async fn uploads(builder: AmazonS3Builder, server: &Server) -> S3Uploads {
        let credentials = Arc::clone(builder.clone().build().unwrap().credentials());
        let mut retries = RetryConfig { max_retries: 2, ..RetryConfig::default() };
        retries.backoff.init_backoff = Duration::from_millis(1);
        let mut uploads = S3Uploads::new(builder, credentials, Path::from("a/b"), Again::like(retries));
        let bucket = uploads.reach().await.unwrap();
        uploads.bucket = OnceCell::from(Bucket { client: HttpClient::new(server.clone()), ..bucket });
        uploads
    }

    fn page(more: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListMultipartUploadsResult \
             xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Bucket>lake</Bucket><KeyMarker></KeyMarker>\
             <MaxUploads>1000</MaxUploads>{more}</ListMultipartUploadsResult>"
        )
    }

    fn upload(key: &str, id: &str) -> String {
        format!(
            "<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiator><ID>me</ID></Initiator>\
             <StorageClass>STANDARD</StorageClass><Initiated>2026-11-30T18:47:30.000Z</Initiated></Upload>"
        )
    }

    const LAST: &str = "<IsTruncated>false</IsTruncated>";

    #[tokio::test]
    async fn a_list_is_asked_for_page_by_page_and_with_a_signature() {
        let first = page(&format!(
            "<NextKeyMarker>a/b/t/x&amp;y</NextKeyMarker><NextUploadIdMarker>2</NextUploadIdMarker>\
             <IsTruncated>true</IsTruncated>{}{}",
            upload("a/b/t/1", "1"),
            upload("a/b/t/x&amp;y", "2")
        ));
        // Not every server says both.
        let second = page("<NextUploadIdMarker>2+</NextUploadIdMarker><IsTruncated>true</IsTruncated>");
        let third = page(&format!("{}{LAST}", upload("a/b/t/z", "3")));
        let server = Server::new(&[(200, first.as_str()), (200, second.as_str()), (200, third.as_str())]);
        let found = uploads(builder(), &server).await.unfinished(&Path::from("t")).await.unwrap();
        let names: Vec<(&str, &str)> = found.iter().map(|begun| (begun.path.as_ref(), begun.id.as_str())).collect();
        assert_eq!(names, [("t/1", "1"), ("t/x&y", "2"), ("t/z", "3")]);
        assert_eq!(found[0].initiated.to_rfc3339(), "2026-11-30T18:47:30+00:00");
        let url = "http://127.0.0.1:9000/lake?uploads=&prefix=a%2Fb%2Ft%2F";
        assert_eq!(
            server.asked(),
            [
                url.to_string(),
                format!("{url}&key-marker=a%2Fb%2Ft%2Fx%26y&upload-id-marker=2"),
                format!("{url}&upload-id-marker=2%2B")
            ]
        );
        assert!(server.is_signed());
    }

    #[tokio::test]
    async fn a_server_that_sends_in_circles_does_not_hold_anybody_up() {
        let again = page("<NextKeyMarker>x</NextKeyMarker><IsTruncated>true</IsTruncated>");
        let server = Server::new(&[(200, again.as_str()); 2]);
        assert!(uploads(builder(), &server).await.unfinished(&Path::default()).await.unwrap().is_empty());
        assert_eq!(server.asked().len(), 2);
    }

    #[tokio::test]
    async fn names_are_read_whatever_is_in_them_and_those_from_elsewhere_are_left_out() {
        let all = [
            upload("a/b/x=1 &lt;&amp;&gt;&quot;/100%/a%20b \u{e4}+.parquet", "1"),
            upload("a/b&#x9;/t", "2"),
            upload("a/bc/t", "3"),
            upload("a/b//t", "4"),
            "<Upload><Key>a/b/t</Key><UploadId>5</UploadId></Upload>".to_string(),
        ];
        let server = Server::new(&[(200, page(&format!("{LAST}{}", all.concat())).as_str())]);
        let found = uploads(builder(), &server).await.unfinished(&Path::default()).await.unwrap();
        let names: Vec<&str> = found.iter().map(|begun| begun.path.as_ref()).collect();
        assert_eq!(names, ["x=1 <&>\"/100%/a%20b \u{e4}+.parquet", "t"]);
        assert_eq!(found[1].initiated, DateTime::<Utc>::MAX_UTC);
    }

    #[tokio::test]
    async fn what_passes_is_asked_again_and_what_is_refused_is_not() {
        let server = Server::new(&[(503, "<Error><Code>SlowDown</Code></Error>"), (200, page(LAST).as_str())]);
        assert!(uploads(builder(), &server).await.unfinished(&Path::default()).await.unwrap().is_empty());
        for (status, body) in [
            (403, "<Error><Code>AccessDenied</Code></Error>"),
            (501, "<Error><Code>NotImplemented</Code></Error>"),
            (405, ""),
            (200, "<html>welcome</html>"),
            (200, "what?"),
        ] {
            let server = Server::new(&[(status, body)]);
            let error = uploads(builder(), &server).await.unfinished(&Path::default()).await.unwrap_err();
            assert!(answer::is_refused(&error), "{error:?}");
        }
        let server = Server::new(&[(500, ""); 3]);
        let error = uploads(builder(), &server).await.unfinished(&Path::default()).await.unwrap_err();
        assert!(answer::explain(&error).is_transient() && !answer::is_refused(&error), "{error:?}");
    }

    #[tokio::test]
    async fn whoever_goes_without_credentials_does_not_sign_and_a_bucket_can_be_in_the_name_of_the_host() {
        let open = AmazonS3Builder::new().with_region("eu-west-1").with_bucket_name("lake");
        let open = open.with_virtual_hosted_style_request(true).with_config(AmazonS3ConfigKey::SkipSignature, "TRUE");
        let server = Server::new(&[(200, page(LAST).as_str())]);
        uploads(open, &server).await.unfinished(&Path::default()).await.unwrap();
        assert_eq!(server.asked(), ["https://lake.s3.eu-west-1.amazonaws.com/?uploads=&prefix=a%2Fb%2F"]);
        assert!(!server.is_signed());
    }
}
