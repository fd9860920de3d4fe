"""What the templates deploy: routes, roles, doors that are shut, and names that nobody else has."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local_cloud.edge import RELAY_PATHS
from relay.app import PATHS
from tests.infra.bicep import FOLDER, Deployed, Resource, statements
from tests.infra.installation import ENVIRONMENT, FOOTPRINTS, app_of, container_of, installed, installed_with

FILES = sorted(FOLDER.rglob("*.bicep"))
ROLES = {
    "Key Vault Secrets User": "4633458b-17de-408a-b874-0445c86b69e6",
    "Key Vault Secrets Officer": "b86a8fe4-44ce-4948-aee5-eccb2c155cd7",
    "AcrPull": "7f951dda-4ed3-4680-a7ca-43fe172d538d",
    "Monitoring Metrics Publisher": "3913510d-42f4-4e42-8a64-420c390055eb",
    "Cognitive Services OpenAI User": "5e0bd9bd-7b93-4f28-af87-19fc36ad61bd",
}
"""Microsoft Learn, "Azure built-in roles", 2026-11."""
TOKEN_SERVICE, RELAY = "principal of id-voice-token-service", "principal of id-voice-relay"
HAVE_NO_DIAGNOSTICS = {
    "Microsoft.Authorization/roleAssignments",
    "Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments",
    "Microsoft.Cdn/profiles/afdEndpoints",
    "Microsoft.Cdn/profiles/afdEndpoints/routes",
    "Microsoft.Cdn/profiles/customDomains",
    "Microsoft.Cdn/profiles/originGroups",
    "Microsoft.Cdn/profiles/originGroups/origins",
    "Microsoft.Cdn/profiles/securityPolicies",
    "Microsoft.CognitiveServices/accounts/deployments",
    "Microsoft.Consumption/budgets",
    "Microsoft.Insights/actionGroups",
    "Microsoft.Insights/components",  # what it is sent is in the workspace already
    "Microsoft.Insights/diagnosticSettings",
    "Microsoft.Insights/scheduledQueryRules",
    "Microsoft.Insights/workbooks",
    "Microsoft.ManagedIdentity/userAssignedIdentities",
    "Microsoft.Network/FrontDoorWebApplicationFirewallPolicies",  # its log is Front Door's
    "Microsoft.Network/privateDnsZones",
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks",
    "Microsoft.Network/privateEndpoints",
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups",
    "Microsoft.Resources/resourceGroups",
}
every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
every_footprint = pytest.mark.parametrize("footprint", FOOTPRINTS)


def the(deployed: Deployed, resource_type: str) -> Resource:
    [resource] = deployed.of_type(resource_type)
    return resource


def with_everything() -> Deployed:
    return installed_with(deployAzureOpenAi=True, customDomain="voice.example.com")


@every_file
def test_every_parameter_and_output_is_described(path: Path) -> None:
    kinds = ("parameter_declaration", "output_declaration")
    declared = [(node, decorators) for node, decorators in statements(path) if node.type in kinds]
    assert declared
    assert [node.text for node, decorators in declared if len(decorators.get("description", "")) < 8] == []


@every_file
def test_no_output_is_of_a_secret(path: Path) -> None:
    outputs = [(node.text or b"").decode() for node, _ in statements(path) if node.type == "output_declaration"]
    forbidden = r"(?i)secret|password|connectionstring|listkeys|getsecret|instrumentationkey|accesskey|\.key"
    assert [output for output in outputs if re.search(forbidden, output)] == []


@pytest.mark.skipif(
    shutil.which("bicep") is None, reason="the compiler is not here; .ci/run checks the types where it can"
)
@pytest.mark.parametrize(
    "path", [FOLDER / "main.bicep", *sorted(FOLDER.glob("*.bicepparam"))], ids=lambda path: path.name
)
def test_the_compiler_takes_it(path: Path) -> None:
    verb = "build-params" if path.suffix == ".bicepparam" else "build"
    done = subprocess.run(
        ["bicep", verb, str(path), "--stdout"], env=os.environ | ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_files_are_those_that_are_deployed() -> None:
    used = {"main.bicep"}
    for path in FILES:
        used |= {Path(name).name for name in re.findall(r"^module \w+ '([^']+)'", path.read_text(), re.MULTILINE)}
    assert {path.name for path in FILES} == used


def test_nothing_is_in_a_place_or_under_a_name_of_our_choice() -> None:
    here = installed_with(environmentName="here", location="place-one")
    there = installed_with(environmentName="there", location="place-two")
    named_by_azure = ("Microsoft.Network/privateDnsZones", "Microsoft.Insights/workbooks")  # or by a GUID
    part_of_another = ("Microsoft.Authorization/roleAssignments", "Microsoft.Insights/diagnosticSettings")
    for one, other in zip(here.everything(), there.everything(), strict=True):
        assert (one.body.get("location"), other.body.get("location")) in (
            (None, None),
            ("global", "global"),
            ("place-one", "place-two"),
        ), one.id
        if one.type.count("/") == 1 and one.type not in (*named_by_azure, *part_of_another):
            assert one.name != other.name, one.id


@every_footprint
def test_names_fit_azure_s_rules_for_the_longest_installation_name(footprint: str) -> None:
    deployed = installed(footprint, AZURE_ENV_NAME="a" * 20)
    rules = {
        "Microsoft.App/containerApps": r"[a-z][a-z0-9-]{1,31}",
        "Microsoft.App/managedEnvironments": r"[a-z][a-z0-9-]{1,59}",
        "Microsoft.ContainerRegistry/registries": r"[a-z0-9]{5,50}",
        "Microsoft.KeyVault/vaults": r"[a-z][a-z0-9-]{2,23}",
        "Microsoft.Network/FrontDoorWebApplicationFirewallPolicies": r"[A-Za-z][A-Za-z0-9]{0,127}",
        "Microsoft.Cdn/profiles/afdEndpoints": r"[a-z0-9][a-z0-9-]{0,44}[a-z0-9]",
    }
    for resource_type, rule in rules.items():
        assert all(re.fullmatch(rule, each.name) for each in deployed.of_type(resource_type)), resource_type


@every_footprint
def test_the_relay_s_paths_go_to_the_relay_and_all_else_to_the_token_service(footprint: str) -> None:
    deployed = installed(footprint)
    routes = {each.name: each.properties for each in deployed.of_type("Microsoft.Cdn/profiles/afdEndpoints/routes")}
    assert tuple(routes["relay"]["patternsToMatch"]) == PATHS == RELAY_PATHS
    assert routes["token-service"]["patternsToMatch"] == ["/*"]
    origins = {each.name: each.properties for each in deployed.of_type("Microsoft.Cdn/profiles/originGroups/origins")}
    for name, service in {"relay": "relay", "token-service": "token_service"}.items():
        assert routes[name]["originGroup"]["id"].endswith(f"originGroups/{name}")
        assert origins[name]["hostName"] == f"{app_of(deployed, service).name}.apps.example.com"
        assert "cacheConfiguration" not in routes[name]  # a route with one has no WebSocket
        assert routes[name]["forwardingProtocol"] == "HttpsOnly"


def test_premium_reaches_the_services_by_private_link_and_nobody_else_does() -> None:
    deployed = installed("production")
    environment = the(deployed, "Microsoft.App/managedEnvironments")
    assert environment.properties["publicNetworkAccess"] == "Disabled"
    assert environment.properties["vnetConfiguration"]["internal"] is True
    assert environment.properties["zoneRedundant"] is True
    for origin in deployed.of_type("Microsoft.Cdn/profiles/originGroups/origins"):
        link = origin.properties["sharedPrivateLinkResource"]
        assert (link["groupId"], link["privateLink"]["id"]) == ("managedEnvironments", environment.id)
    rule_sets = the(deployed, "Microsoft.Network/FrontDoorWebApplicationFirewallPolicies").properties["managedRules"]
    assert len(rule_sets["managedRuleSets"]) == 2


def test_standard_reaches_them_from_outside_and_front_door_alone_is_let_in() -> None:
    deployed = installed("small")
    assert the(deployed, "Microsoft.App/managedEnvironments").properties["publicNetworkAccess"] == "Enabled"
    for origin in deployed.of_type("Microsoft.Cdn/profiles/originGroups/origins"):
        assert origin.properties["sharedPrivateLinkResource"] is None
    [guard] = [each for each in deployed.of_type("Microsoft.Network/networkSecurityGroups") if each.symbol == "guard"]
    allowed = [rule["properties"] for rule in guard.properties["securityRules"]]
    assert [rule["sourceAddressPrefix"] for rule in allowed] == ["AzureFrontDoor.Backend"]
    managed = the(deployed, "Microsoft.Network/FrontDoorWebApplicationFirewallPolicies").properties["managedRules"]
    assert managed["managedRuleSets"] == []  # Standard refuses them


@every_footprint
def test_the_firewall_counts_by_the_address_of_the_socket_and_logs_no_credential(footprint: str) -> None:
    policy = the(installed(footprint), "Microsoft.Network/FrontDoorWebApplicationFirewallPolicies").properties
    [rule] = policy["customRules"]["rules"]
    assert (rule["ruleType"], rule["groupBy"]) == ("RateLimitRule", [{"variableName": "SocketAddr"}])
    assert rule["rateLimitThreshold"] >= 200
    hidden = {rule["selector"] for rule in policy["policySettings"]["logScrubbing"]["scrubbingRules"]}
    assert hidden == {"Authorization", "Sec-WebSocket-Protocol", "api-key"}
    assert policy["policySettings"]["mode"] == "Prevention"
    assert the(installed(footprint), "Microsoft.Cdn/profiles").properties["logScrubbing"]["state"] == "Enabled"


@every_footprint
def test_redis_evicts_nothing_keeps_nothing_and_takes_identities_over_tls_alone(footprint: str) -> None:
    deployed = installed(footprint)
    redis = the(deployed, "Microsoft.Cache/redisEnterprise").properties
    assert (redis["minimumTlsVersion"], redis["publicNetworkAccess"]) == ("1.2", "Disabled")
    assert the(deployed, "Microsoft.Cache/redisEnterprise/databases").properties == {
        "clientProtocol": "Encrypted",
        "port": 10000,
        "clusteringPolicy": "EnterpriseCluster",  # one address, as REDIS_MODE=single wants
        "evictionPolicy": "NoEviction",
        "accessKeysAuthentication": "Disabled",
        "persistence": {"aofEnabled": False, "rdbEnabled": False},
    }
    logins = deployed.of_type("Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments")
    assert {each.properties["user"]["objectId"] for each in logins} == {TOKEN_SERVICE, RELAY}


@every_footprint
def test_the_vault_is_by_roles_private_and_cannot_be_purged(footprint: str) -> None:
    vault = the(installed(footprint), "Microsoft.KeyVault/vaults").properties
    assert vault["enableRbacAuthorization"] is vault["enablePurgeProtection"] is True
    assert vault["publicNetworkAccess"] == "Disabled"
    assert vault["networkAcls"] == {"bypass": "None", "defaultAction": "Deny", "ipRules": []}


def test_the_vault_opens_to_named_addresses_only() -> None:
    vault = the(installed("production", AIRLOCK_VAULT_ADDRESSES="203.0.113.7"), "Microsoft.KeyVault/vaults").properties
    assert vault["publicNetworkAccess"] == "Enabled"
    assert vault["networkAcls"]["defaultAction"] == "Deny"
    assert vault["networkAcls"]["ipRules"] == [{"value": "203.0.113.7"}]


def test_what_is_private_has_an_endpoint_and_a_name() -> None:
    deployed = with_everything()
    targets = {
        each.properties["privateLinkServiceConnections"][0]["properties"]["privateLinkServiceId"]: each
        for each in deployed.of_type("Microsoft.Network/privateEndpoints")
    }
    private = deployed.of_type(
        "Microsoft.KeyVault/vaults", "Microsoft.Cache/redisEnterprise", "Microsoft.CognitiveServices/accounts"
    )
    assert set(targets) == {each.id for each in private}
    zones = {
        each.body["parent"].name: each.properties["privateDnsZoneConfigs"][0]["properties"]["privateDnsZoneId"]
        for each in deployed.of_type("Microsoft.Network/privateEndpoints/privateDnsZoneGroups")
    }
    for target, name in {"kv-": "vaultcore", "amr-": "redis", "oai-": "openai"}.items():
        [zone] = [zone for endpoint, zone in zones.items() if endpoint.startswith(f"pe-{target}")]
        assert f"privatelink.{name}." in zone


def test_nobody_has_a_role_that_the_code_does_not_need() -> None:
    deployed = with_everything()
    given = {
        (
            next(name for name, role in ROLES.items() if each.properties["roleDefinitionId"].endswith(role)),
            each.properties["principalId"],
            each.body["scope"].type,
        )
        for each in deployed.of_type("Microsoft.Authorization/roleAssignments")
    }
    both = (TOKEN_SERVICE, RELAY)
    assert given == {
        *(("Key Vault Secrets User", who, "Microsoft.KeyVault/vaults/secrets") for who in both),
        *(("AcrPull", who, "Microsoft.ContainerRegistry/registries") for who in both),
        *(("Monitoring Metrics Publisher", who, "Microsoft.Insights/components") for who in both),
        ("Cognitive Services OpenAI User", RELAY, "Microsoft.CognitiveServices/accounts"),
        ("Key Vault Secrets Officer", "the-operator", "Microsoft.KeyVault/vaults"),
    }
    names = [each.name for each in deployed.of_type("Microsoft.Authorization/roleAssignments")]
    assert len(names) == len(set(names))


def test_no_password_of_the_platform_s_is_good_for_anything() -> None:
    deployed = with_everything()
    assert the(deployed, "Microsoft.Insights/components").properties["DisableLocalAuth"] is True
    assert the(deployed, "Microsoft.OperationalInsights/workspaces").properties["features"]["disableLocalAuth"] is True
    assert the(deployed, "Microsoft.CognitiveServices/accounts").properties["disableLocalAuth"] is True
    assert the(deployed, "Microsoft.ContainerRegistry/registries").properties["adminUserEnabled"] is False


def test_everything_that_has_diagnostics_sends_them() -> None:
    deployed = with_everything()
    observed = {each.body["scope"].id for each in deployed.of_type("Microsoft.Insights/diagnosticSettings")}
    silent = {each.id for each in deployed.everything() if not each.exists and each.type not in HAVE_NO_DIAGNOSTICS}
    assert silent == observed
    workspace = the(deployed, "Microsoft.OperationalInsights/workspaces").id
    for each in deployed.of_type("Microsoft.Insights/diagnosticSettings"):
        assert each.properties["workspaceId"] == workspace


@pytest.mark.parametrize("service", ["token_service", "relay"])
def test_probes_ask_for_life_and_readiness_and_no_rule_counts_requests(service: str) -> None:
    app = app_of(installed("production"), service)
    probes: dict[str, Any] = {each["type"]: each["httpGet"] for each in container_of(app)["probes"]}
    port = app.properties["configuration"]["ingress"]["targetPort"]
    assert probes == {
        "Startup": {"path": "/healthz", "port": port},
        "Liveness": {"path": "/healthz", "port": port},
        "Readiness": {"path": "/readyz", "port": port},
    }
    scale = app.properties["template"]["scale"]
    assert scale["minReplicas"] >= 2
    assert [next(iter(rule.keys() - {"name"})) for rule in scale["rules"]] == ["custom"]
    assert scale["rules"][0]["custom"]["type"] == "cpu"


@pytest.mark.parametrize("service", ["token_service", "relay"])
def test_the_operators_listener_is_for_the_environment_alone(service: str) -> None:
    app = app_of(installed("production"), service)
    [mapping] = app.properties["configuration"]["ingress"]["additionalPortMappings"]
    assert mapping["external"] is False
    assert {"name": "OPERATOR_PORT", "value": str(mapping["targetPort"])} in container_of(app)["env"]
    assert app.properties["configuration"]["ingress"]["targetPort"] != mapping["targetPort"]


def test_all_relays_together_stay_below_what_front_door_carries() -> None:
    for footprint in FOOTPRINTS:
        app = app_of(installed(footprint), "relay")
        [sessions] = [each["value"] for each in container_of(app)["env"] if each["name"] == "MAX_SESSIONS"]
        assert int(sessions) * app.properties["template"]["scale"]["maxReplicas"] < 3_000


def test_without_an_image_there_is_all_but_the_apps_and_the_roles_on_secrets_that_are_not_there_yet() -> None:
    deployed = installed_with(image="")
    assert deployed.of_type("Microsoft.App/containerApps") == []
    assert not [each for each in deployed.everything() if each.type == "Microsoft.KeyVault/vaults/secrets"]
    assert the(deployed, "Microsoft.ContainerRegistry/registries")
    assert {each.properties["enabled"] for each in deployed.of_type("Microsoft.Insights/scheduledQueryRules")} == {
        False
    }


def test_a_domain_of_one_s_own_is_where_people_go() -> None:
    deployed = with_everything()
    assert deployed.outputs["AIRLOCK_URL"] == "https://voice.example.com"
    for route in deployed.of_type("Microsoft.Cdn/profiles/afdEndpoints/routes"):
        assert [domain["id"] for domain in route.properties["customDomains"]] == [
            the(deployed, "Microsoft.Cdn/profiles/customDomains").id
        ]
        assert route.properties["linkToDefaultDomain"] == "Disabled"
