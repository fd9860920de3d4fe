// Who the services are. Each has an identity of its own, so that each gets the roles that it needs and no more.

@description('Name of the installation.')
param environmentName string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Name of the Application Insights that both may send to.')
param insightsName string

var monitoringMetricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb'

resource tokenService 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: 'id-${environmentName}-token-service'
  location: location
  tags: tags
}

resource relay 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: 'id-${environmentName}-relay'
  location: location
  tags: tags
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

resource tokenServiceMaySend 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: insights
  name: guid(insights.id, tokenService.id, monitoringMetricsPublisher)
  properties: {
    principalId: tokenService.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', monitoringMetricsPublisher)
  }
}

resource relayMaySend 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: insights
  name: guid(insights.id, relay.id, monitoringMetricsPublisher)
  properties: {
    principalId: relay.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', monitoringMetricsPublisher)
  }
}

@description('Resource id of the token service\'s identity.')
output tokenServiceId string = tokenService.id

@description('Client id of the token service\'s identity.')
output tokenServiceClientId string = tokenService.properties.clientId

@description('Object id of the token service\'s identity.')
output tokenServicePrincipalId string = tokenService.properties.principalId

@description('Resource id of the relay\'s identity.')
output relayId string = relay.id

@description('Client id of the relay\'s identity.')
output relayClientId string = relay.properties.clientId

@description('Object id of the relay\'s identity.')
output relayPrincipalId string = relay.properties.principalId
