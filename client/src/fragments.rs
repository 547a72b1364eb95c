//! The fragments of a journal, page by page.

use courant_proto::wire;
use futures::stream::{self, Stream};

use crate::{Client, Error, check};

#[cfg(test)]
mod tests;

const CALL: &str = "ListFragments";

impl Client {
    /// One page of a journal's fragments. `next_page_token` of the answer asks for the next one; zero is the end.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with the status, and faults of the call.
    pub async fn fragments(&self, request: wire::FragmentsRequest) -> Result<wire::FragmentsResponse, Error> {
        let response = self.answer(CALL, self.transport.list_fragments(request)).await?;
        check::status(CALL, response.status, response.header.as_ref())?;
        Ok(response)
    }

    /// All fragments of a journal from the request's page on, as the pages they come in. Ends after an error.
    ///
    /// ```no_run
    /// # use courant_proto::wire;
    /// use futures::TryStreamExt as _;
    ///
    /// # async fn example(client: courant_client::Client) -> Result<(), courant_client::Error> {
    /// let request = wire::FragmentsRequest { journal: "examples/foobar".to_owned(), ..Default::default() };
    /// let mut pages = std::pin::pin!(client.fragment_pages(request));
    /// while let Some(page) = pages.try_next().await? {
    ///     for fragment in page.fragments.into_iter().filter_map(|fragment| fragment.spec) {
    ///         println!("[{}, {})", fragment.begin, fragment.end);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn fragment_pages(
        &self,
        request: wire::FragmentsRequest,
    ) -> impl Stream<Item = Result<wire::FragmentsResponse, Error>> + Send + 'static {
        let client = self.clone();
        stream::try_unfold(Some(request), move |request| {
            let client = client.clone();
            async move {
                let Some(mut request) = request else {
                    return Ok(None);
                };
                let page = client.fragments(request.clone()).await?;
                let next = match page.next_page_token {
                    0 => None,
                    token if token > request.next_page_token => {
                        request.next_page_token = token;
                        Some(request)
                    }
                    token => {
                        let reason =
                            format!("NextPageToken {token} does not follow {}", request.next_page_token);
                        return Err(Error::malformed(CALL, reason));
                    }
                };
                Ok(Some((page, next)))
            }
        })
    }
}
