"""What `vigie doctor` says of insecure settings: what keeps a role from starting, and what was allowed."""

from collections.abc import Iterator
from typing import Final

from app.standalone.doctor import DoctorFinding

_WHAT: Final = "insecure setting"


def check_security() -> Iterator[DoctorFinding]:
    """All that is insecure, for whichever command; one line where nothing is.

    Settings that name no database are those of somebody who runs `vigie up`: what that decides is left out.
    """
    # Here: what they are made with may be what is missing.
    from app.platform.config.security_findings import SECURITY_FINDING_TYPES  # noqa: PLC0415
    from app.platform.config.settings import InvalidSettingsError, read_settings  # noqa: PLC0415
    from app.standalone.startup_checks import check_stack_settings, find_role_insecurities  # noqa: PLC0415

    try:
        settings = read_settings()
    except InvalidSettingsError:
        return  # told with the settings
    own = "url" in settings.database.model_fields_set
    found = find_role_insecurities(settings) if own else check_stack_settings(settings, services=True)[1]
    for each in found:
        known = SECURITY_FINDING_TYPES[each.code]
        allowed = each.code in settings.allow_insecure
        detail = f"{each.code}: {each.variable}: {known.danger}"
        if own and not allowed:
            stops = f"{detail}; keeps {', '.join(known.roles)} from starting"
            yield DoctorFinding("missing", _WHAT, stops, f"set {known.mend}")
        else:
            yield DoctorFinding(
                "note", _WHAT, f"{detail}{' (allowed)' if allowed else ''}", f"set {known.mend}"
            )
    if not found:
        yield DoctorFinding("ok", _WHAT, "none" if own else "none that concerns `vigie up`")
