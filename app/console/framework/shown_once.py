"""Creates resources whose secret is shown once, so that a repeated form shows the same secret again.

Such a form is answered by a page with the secret, not by a redirect: nothing stores the secret for a later
page. If the browser sends the form again, on a reload or after a lost connection, the idempotency key of the
form gives the first response again, and no second resource is created.
"""

import hashlib
import json
import secrets
from typing import Any, Final

from app.console.framework.api_calls import ApiProblemError
from app.console.framework.console_visit import ConsoleVisit
from app.console.framework.form_fields import FormFields
from app.platform.kernel.errors import ForbiddenError

FORM_KEY: Final = "_once"
"""The field with the key of a form."""
_NO_ENCRYPTION: Final = "encryption_key_missing"


def make_form_key(fields: FormFields | None = None) -> str:
    """Make the key of a form; that of the form that was sent, if there is one."""
    return (fields.one(FORM_KEY) if fields else "") or secrets.token_hex(16)


async def post_once(
    visit: ConsoleVisit, path: str, body: object, fields: FormFields, *, part: int = 0, **headers: str
) -> Any:  # noqa: ANN401 (JSON)
    """Send a body once, however often the form is sent.

    Args:
        visit: The visit.
        path: The path of the API.
        body: The JSON or the bytes.
        fields: The form with its key. Another body under the same key is another request.
        part: The number of this call among those of the form.
        **headers: Further headers, with underscores for hyphens.

    Raises:
        ForbiddenError: The person may not do it: then the form is not shown either.
        ApiProblemError: The API refused it for another reason.
    """
    keyed = headers
    if fields.has(FORM_KEY):
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = f"{fields.one(FORM_KEY)}\n{part}\n{path}\n".encode()
        keyed = {**headers, "idempotency_key": hashlib.sha256(given + sent).hexdigest()}
    try:
        return await visit.api.post(path, body, **keyed)
    except ApiProblemError as error:
        if error.status == ForbiddenError.status:
            raise ForbiddenError(error.detail, code=error.code) from None
        if error.code != _NO_ENCRYPTION:
            raise
    # Without an encryption key the API stores no responses.
    return await visit.api.post(path, body, **headers)
