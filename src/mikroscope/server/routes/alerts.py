"""`/api/alerts`: shows and changes the alert policy, and tests its webhook."""

from anyio import CapacityLimiter, to_thread
from msgspec.structs import asdict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from mikroscope.alerts.policy import AlertPolicy, webhook_to_test
from mikroscope.errors import AlertPolicyError
from mikroscope.ingest.native import invalid_json
from mikroscope.records.parsing import NotARecordError, parse_json
from mikroscope.records.timestamps import format_time
from mikroscope.server.openapi.model import (
    LARGE_BODY,
    NO_API_CREDENTIALS,
    SLOW_BODY,
    UNAVAILABLE,
    Operation,
    Payload,
    ResponseDoc,
)
from mikroscope.server.responses import RETRY, json_response
from mikroscope.server.routes.body import read_body
from mikroscope.server.routes.endpoint import Context, answers, parameters_of
from mikroscope.server.schemas import (
    AlertConfigResponse,
    AlertPolicyResponse,
    WebhookTestResponse,
)

_MAX_BODY_BYTES = 65_536
_WEBHOOK_TESTS = 4  # at a time

_GET_CONFIG = Operation(
    method="GET",
    path="/api/alerts/config",
    name="getAlertConfig",
    tag="Alerts",
    access="api",
    summary="Get the alert policy",
    responses={
        200: ResponseDoc("The policy in force, and the file that keeps it.", AlertConfigResponse),
        401: NO_API_CREDENTIALS,
        503: UNAVAILABLE,
    },
)
_PUT_CONFIG = Operation(
    method="PUT",
    path="/api/alerts/config",
    name="updateAlertConfig",
    tag="Alerts",
    access="api",
    summary="Change the alert policy",
    text=(
        "Takes any part of the policy, stores it and applies it at once. Setting a `webhookUrl` "
        "enables alerts; `null` or an empty text clears it and disables them, unless `enabled` is "
        "also given. `webhookFormat` says what is posted; `auto` recognises the webhooks of Slack, "
        "Discord and Teams by their URLs."
    ),
    payload=Payload("PolicyChange", {"errorThreshold": 50, "windowMinutes": 10}),
    responses={
        200: ResponseDoc("The policy that is now in force.", AlertConfigResponse),
        400: ResponseDoc("The body is not a valid change; the text names the field."),
        401: NO_API_CREDENTIALS,
        408: SLOW_BODY,
        413: LARGE_BODY,
        503: UNAVAILABLE,
    },
)
_TEST_WEBHOOK = Operation(
    method="POST",
    path="/api/alerts/test-webhook",
    name="testAlertWebhook",
    tag="Alerts",
    access="api",
    summary="Send a test notification",
    text=(
        "Sends it to the given `webhookUrl`, or else to the policy's, in the given "
        "`webhookFormat`, or else in the policy's."
    ),
    payload=Payload("WebhookToTest", {}, required=False),
    responses={
        200: ResponseDoc("The notification was delivered.", WebhookTestResponse),
        400: ResponseDoc("It could not be delivered, or there is no URL; the text says why."),
        401: NO_API_CREDENTIALS,
        408: SLOW_BODY,
        413: LARGE_BODY,
        503: UNAVAILABLE,
    },
)


class AlertRoutes:
    """Shows, changes and tests what the alerter does."""

    def __init__(self, context: Context) -> None:
        self._alerter = context.sidecar.alerter
        self._auth = context.auth
        self._slots = context.slots
        self._threads = CapacityLimiter(_WEBHOOK_TESTS)

    @answers(_GET_CONFIG)
    async def get_config(self, request: Request) -> Response:
        self._auth.require_api(request)
        parameters_of(request, _GET_CONFIG)
        return self._config_response(self._alerter.policy)

    @answers(_PUT_CONFIG)
    async def put_config(self, request: Request) -> Response:
        self._auth.require_api(request)
        parameters_of(request, _PUT_CONFIG)
        change = await self._read_json(request)
        return self._config_response(await to_thread.run_sync(self._alerter.change, change))

    @answers(_TEST_WEBHOOK)
    async def test_webhook(self, request: Request) -> Response:
        self._auth.require_api(request)
        parameters_of(request, _TEST_WEBHOOK)
        webhook = webhook_to_test(await self._read_json(request))
        if self._threads.available_tokens == 0:
            text = f"{_WEBHOOK_TESTS} webhook tests are running, which is the limit: try again"
            raise HTTPException(503, text, RETRY)
        sent_ms, target = await to_thread.run_sync(
            self._alerter.send_test, webhook, limiter=self._threads
        )
        sent_at = format_time(sent_ms)
        return json_response(WebhookTestResponse(ok=True, sent_at=sent_at, target_url=target))

    def _config_response(self, policy: AlertPolicy) -> Response:
        shown = AlertPolicyResponse(**asdict(policy))
        path = str(self._alerter.path)
        return json_response(AlertConfigResponse(config_path=path, policy=shown))

    async def _read_json(self, request: Request) -> object:
        """The body as JSON; an empty one counts as {}. Raises AlertPolicyError."""
        body = await self._slots.outside(read_body(request, _MAX_BODY_BYTES))
        try:
            return parse_json(body)[0] if body.strip() else {}
        except NotARecordError as error:
            raise AlertPolicyError(invalid_json(str(error))) from None
