"""Serves the pages of members: their roles, sites and factors, password resets, and invitations."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Response

from app.console.administration.administration_pages import (
    ADMINISTRATION_PATH,
    PAGE_ROWS,
    list_organisations,
    map_names,
    render_administration,
)
from app.console.framework.api_calls import ApiProblemError, build_next_address
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormFields, FormState, read_console_form
from app.console.framework.guarded_changes import change_guarded, read_tagged
from app.console.framework.page_rendering import redirect_to
from app.console.framework.shown_once import post_once
from app.console.framework.site_choices import list_sites, read_site_choice

_PATH: Final = f"{ADMINISTRATION_PATH}/members"
router: Final = APIRouter(prefix=_PATH, include_in_schema=False, route_class=ConsoleRoute)


@router.get("")
async def list_all(visit: Visit) -> Response:
    """List members and open invitations."""
    given = visit.query
    filters = {name: given[name] for name in ("q", "role", "organisation") if given.get(name)}
    page = await visit.api.get(
        "/v1/members", **filters, sort="name", cursor=given.get("cursor"), limit=PAGE_ROWS
    )
    invitations = await visit.api.get(
        "/v1/invitations",
        state="open",
        organisation=filters.get("organisation"),
        sort="-created_at",
        limit=1000,
    )
    organisations = await list_organisations(visit)
    following = page["next"]
    return render_administration(
        visit,
        "administration/members.html",
        title=visit.t("Members"),
        part="members",
        members=page["data"],
        invitations=invitations["data"],
        organisations=organisations,
        names=map_names(organisations),
        sites=map_names(await list_sites(visit)),
        filters=filters,
        following=build_next_address(following, filters),
    )


@router.get("/invite")
async def show_invitation_form(visit: Visit) -> Response:
    """Show the form of an invitation."""
    visit.require("members:write")
    return await _show_invitation_form(visit, FormState())


async def _show_invitation_form(visit: ConsoleVisit, form: FormState, status: int = 200) -> Response:
    return render_administration(
        visit,
        "administration/member_invite.html",
        title=visit.t("Invite a person"),
        part="members",
        status=status,
        organisations=await list_organisations(visit),
        sites=await list_sites(visit),
        form=form,
    )


@router.post("/invite")
async def invite_member(visit: Visit) -> Response:
    """Invite a person, or again: a new invitation revokes an earlier one of the same address."""
    fields = await read_console_form(visit)
    body: dict[str, Any] = {
        "email": fields.one("email"),
        "role": fields.one("role"),
        "language": fields.one("language", visit.language),
        "site_ids": read_site_choice(fields),
    }
    if fields.one("organisation_id"):
        body["organisation_id"] = fields.one("organisation_id")
    try:
        made = await post_once(visit, "/v1/invitations", body, fields)
    except ApiProblemError as error:
        return await _show_invitation_form(visit, FormState(fields, error), error.status)
    # Not a redirect: the link is shown once.
    return render_administration(
        visit,
        "administration/member_invited.html",
        title=visit.t("Invitation"),
        part="members",
        invitation=made,
    )


@router.post("/invitations/{invitation_id}/revoke")
async def revoke_invitation(visit: Visit, invitation_id: str) -> Response:
    """Revoke an invitation."""
    await read_console_form(visit)
    await visit.api.delete(f"/v1/invitations/{invitation_id}")
    return redirect_to(visit.request, _PATH, done="revoked")


@router.get("/{member_id}")
async def show_one(visit: Visit, member_id: str) -> Response:
    """Show a member."""
    return await _show_one(visit, member_id, FormState())


async def _show_one(
    visit: ConsoleVisit,
    member_id: str,
    form: FormState,
    status: int = 200,
    *,
    reset: Mapping[str, Any] | None = None,
) -> Response:
    tagged = await read_tagged(visit, f"/v1/members/{member_id}")
    member = tagged.data
    organisations = await list_organisations(visit)
    return render_administration(
        visit,
        "administration/member.html",
        title=member["name"],
        part="members",
        status=status,
        member=member,
        etag=tagged.etag,
        names=map_names(organisations),
        sites=await list_sites(visit, member["organisation_id"]),
        is_self=member["user_id"] == visit.me["id"],
        reset=reset,
        form=form,
    )


@router.post("/{member_id}")
async def change_member(visit: Visit, member_id: str) -> Response:
    """Change role and sites."""
    fields = await read_console_form(visit)
    body = {"role": fields.one("role"), "site_ids": read_site_choice(fields)}
    return await _apply(visit, member_id, fields, body)


@router.post("/{member_id}/disable")
async def disable_member(visit: Visit, member_id: str) -> Response:
    """Lock a person out of all organisations, or let them in again."""
    fields = await read_console_form(visit)
    return await _apply(visit, member_id, fields, {"disabled": fields.one("disabled") == "true"})


async def _apply(visit: ConsoleVisit, member_id: str, fields: FormFields, body: dict[str, Any]) -> Response:
    try:
        await change_guarded(visit, "PATCH", f"/v1/members/{member_id}", body, fields)
    except ApiProblemError as error:
        return await _show_one(visit, member_id, FormState(fields, error), error.status)
    return redirect_to(visit.request, f"{_PATH}/{member_id}", done="saved")


@router.post("/{member_id}/password-reset")
async def create_password_reset(visit: Visit, member_id: str) -> Response:
    """Make a link with which the member chooses a new password, and show it once."""
    fields = await read_console_form(visit)
    try:
        reset = await post_once(visit, f"/v1/members/{member_id}/password-reset", None, fields)
    except ApiProblemError as error:
        return await _show_one(visit, member_id, FormState(fields, error), error.status)
    return await _show_one(visit, member_id, FormState(), reset=reset)


@router.post("/{member_id}/second-factors/remove")
async def remove_second_factors(visit: Visit, member_id: str) -> Response:
    """Remove the second factors of a member who lost them."""
    fields = await read_console_form(visit)
    try:
        await visit.api.delete(f"/v1/members/{member_id}/second-factors")
    except ApiProblemError as error:
        return await _show_one(visit, member_id, FormState(fields, error), error.status)
    return redirect_to(visit.request, f"{_PATH}/{member_id}", done="factors_removed")


@router.post("/{member_id}/remove")
async def remove_member(visit: Visit, member_id: str) -> Response:
    """Remove a member from the organisation."""
    fields = await read_console_form(visit)
    try:
        await visit.api.delete(f"/v1/members/{member_id}")
    except ApiProblemError as error:
        return await _show_one(visit, member_id, FormState(fields, error), error.status)
    return redirect_to(visit.request, _PATH, done="member_removed")
