// The edge: one host for page, API and relay, a firewall before them, and no cache anywhere: a cached route has no WebSocket.

@description('Name of the installation.')
param environmentName string

@description('Unique text of the installation.')
param token string

@description('Region of the services.')
param location string

@description('Tags.')
param tags object

@description('SKU. Premium has Private Link and managed rules.')
param sku string

@description('Own host name; empty: the one that Front Door gives.')
param customDomain string

@description('Id of the apps\' environment.')
param appsEnvironmentId string

@description('Host of the token service.')
param tokenServiceHost string

@description('Host of the relay.')
param relayHost string

@description('Prevention or Detection.')
param wafMode string

@description('Requests per minute and address, on each of its servers.')
param wafRequestsPerMinute int

@description('Workspace for diagnostics.')
param workspaceId string

var isPremium = sku == 'Premium_AzureFrontDoor'
var hasDomain = !empty(customDomain)
// The same for both origins, so that they share one connection. Somebody must approve it: docs/deployment.md.
var privateLink = isPremium
  ? {
      privateLink: { id: appsEnvironmentId }
      groupId: 'managedEnvironments'
      privateLinkLocation: location
      requestMessage: 'Airlock ${environmentName}'
    }
  : null
var services = [
  { name: 'relay', host: relayHost, patterns: ['/v1/realtime', '/openai/v1/realtime', '/openai/realtime'] }
  { name: 'token-service', host: tokenServiceHost, patterns: ['/*'] }
]
// What carries credentials: not in the firewall's log, and not to be taken for an attack.
var credentials = ['Authorization', 'Sec-WebSocket-Protocol', 'api-key']
var scrubbedHeaders = [
  for header in credentials: {
    matchVariable: 'RequestHeaderNames'
    selectorMatchOperator: 'Equals'
    selector: header
    state: 'Enabled'
  }
]
var uninspectedHeaders = [
  for header in credentials: { matchVariable: 'RequestHeaderNames', selectorMatchOperator: 'Equals', selector: header }
]
// Instructions are prose, in which the rules find SQL.
var prose = [{ matchVariable: 'RequestBodyJsonArgNames', selectorMatchOperator: 'StartsWith', selector: 'session' }]

resource profile 'Microsoft.Cdn/profiles@2025-06-01' = {
  name: 'afd-${environmentName}'
  location: 'global'
  tags: tags
  sku: { name: sku }
  properties: {
    originResponseTimeoutSeconds: 60
    logScrubbing: {
      state: 'Enabled'
      scrubbingRules: [
        { matchVariable: 'QueryStringArgNames', selectorMatchOperator: 'EqualsAny', state: 'Enabled' }
      ]
    }
  }
}

resource endpoint 'Microsoft.Cdn/profiles/afdEndpoints@2025-06-01' = {
  parent: profile
  name: '${environmentName}-${token}'
  location: 'global'
  tags: tags
  properties: { enabledState: 'Enabled' }
}

resource domain 'Microsoft.Cdn/profiles/customDomains@2025-06-01' = if (hasDomain) {
  parent: profile
  name: replace(empty(customDomain) ? 'none' : customDomain, '.', '-')
  properties: {
    hostName: customDomain
    tlsSettings: { certificateType: 'ManagedCertificate', minimumTlsVersion: 'TLS12' }
  }
}

resource groups 'Microsoft.Cdn/profiles/originGroups@2025-06-01' = [
  for service in services: {
    parent: profile
    name: service.name
    properties: {
      // One origin and no probe: with nowhere else to go there is nothing to learn, and every edge site would ask.
      loadBalancingSettings: { sampleSize: 4, successfulSamplesRequired: 2, additionalLatencyInMilliseconds: 50 }
      sessionAffinityState: 'Disabled'
    }
  }
]

resource origins 'Microsoft.Cdn/profiles/originGroups/origins@2025-06-01' = [
  for (service, index) in services: {
    parent: groups[index]
    name: service.name
    properties: {
      hostName: service.host
      originHostHeader: service.host
      httpsPort: 443
      enforceCertificateNameCheck: true
      sharedPrivateLinkResource: privateLink
    }
  }
]

resource routes 'Microsoft.Cdn/profiles/afdEndpoints/routes@2025-06-01' = [
  for (service, index) in services: {
    parent: endpoint
    name: service.name
    properties: {
      originGroup: { id: groups[index].id }
      patternsToMatch: service.patterns
      supportedProtocols: ['Http', 'Https']
      httpsRedirect: 'Enabled'
      forwardingProtocol: 'HttpsOnly'
      linkToDefaultDomain: hasDomain ? 'Disabled' : 'Enabled'
      customDomains: hasDomain ? [{ id: domain.id }] : []
    }
    dependsOn: [origins]
  }
]

resource waf 'Microsoft.Network/FrontDoorWebApplicationFirewallPolicies@2025-03-01' = {
  name: 'waf${token}'
  location: 'global'
  tags: tags
  sku: { name: sku }
  properties: {
    policySettings: {
      enabledState: 'Enabled'
      mode: wafMode
      requestBodyCheck: 'Enabled'
      logScrubbing: { state: 'Enabled', scrubbingRules: scrubbedHeaders }
    }
    customRules: {
      rules: [
        {
          name: 'TooManyRequests'
          priority: 10
          ruleType: 'RateLimitRule'
          action: 'Block'
          rateLimitDurationInMinutes: 1
          rateLimitThreshold: wafRequestsPerMinute
          groupBy: [{ variableName: 'SocketAddr' }]
          matchConditions: [{ matchVariable: 'RequestUri', operator: 'Any', matchValue: [] }]
        }
      ]
    }
    managedRules: {
      managedRuleSets: isPremium
        ? [
            {
              ruleSetType: 'Microsoft_DefaultRuleSet'
              ruleSetVersion: '2.1'
              ruleSetAction: 'Block'
              exclusions: concat(uninspectedHeaders, prose)
            }
            { ruleSetType: 'Microsoft_BotManagerRuleSet', ruleSetVersion: '1.1' }
          ]
        : []
    }
  }
}

resource guard 'Microsoft.Cdn/profiles/securityPolicies@2025-06-01' = {
  parent: profile
  name: 'waf'
  properties: {
    parameters: {
      type: 'WebApplicationFirewall'
      wafPolicy: { id: waf.id }
      associations: [
        {
          domains: concat([{ id: endpoint.id }], hasDomain ? [{ id: domain.id }] : [])
          patternsToMatch: ['/*']
        }
      ]
    }
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: profile
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [{ categoryGroup: 'allLogs', enabled: true }]
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

@description('Host under which people reach everything.')
output hostName string = hasDomain ? customDomain : endpoint.properties.hostName

@description('Id of this Front Door, which every request to the services must bring.')
output frontDoorId string = profile.properties.frontDoorId

@description('TXT record that proves the custom domain; empty without one.')
output domainProof string = hasDomain ? domain!.properties.validationProperties.validationToken : ''
