// One service: its app, what it is told, and the secrets that it may read.

@description('Name of the app.')
param name string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Id of the apps\' environment.')
param environmentId string

@description('Image of both services.')
param image string

@description('Registry of that image.')
param registryServer string

@description('Python package to run: token_service or relay.')
@allowed(['token_service', 'relay'])
param package string

@description('Resource id of its identity.')
param identityId string

@description('Client id of its identity.')
param clientId string

@description('Object id of its identity.')
param principalId string

@description('Name of the Application Insights that it sends to.')
param insightsName string

@description('CPU cores, as text; the memory is twice as many GiB.')
@allowed(['0.25', '0.5', '0.75', '1.0', '1.25', '1.5', '1.75', '2.0', '4.0'])
param cores string

@description('Least replicas.')
param minReplicas int

@description('Most replicas.')
param maxReplicas int

@description('CPU use in percent above which a replica is added.')
param cpuPercent int

@description('Seconds that a stopping replica takes at most.')
param drainSeconds int

@description('Port of the operators\' listener, which the environment alone reaches.')
param operatorPort int

@description('What it is told, by name; no secret is among it.')
param settings object

@description('Name of the vault.')
param vaultName string

@description('Names of the secrets that it reads.')
param secretNames array

@description('Workspace for diagnostics.')
param workspaceId string

var port = 8080
var memory = {
  '0.25': '0.5Gi'
  '0.5': '1Gi'
  '0.75': '1.5Gi'
  '1.0': '2Gi'
  '1.25': '2.5Gi'
  '1.5': '3Gi'
  '1.75': '3.5Gi'
  '2.0': '4Gi'
  '4.0': '8Gi'
}
var given = [for setting in items(settings): { name: setting.key, value: setting.value }]

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

module readers 'secret_readers.bicep' = {
  name: '${name}-secrets'
  params: { vaultName: vaultName, secretNames: secretNames, principalId: principalId }
}

resource app 'Microsoft.App/containerApps@2026-01-01' = {
  name: name
  location: location
  tags: tags
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${identityId}': {} } }
  properties: {
    environmentId: environmentId
    workloadProfileName: 'Consumption'
    configuration: {
      activeRevisionsMode: 'Single'
      maxInactiveRevisions: 5
      ingress: {
        external: true // as the environment sees it: where that is private, so is this
        targetPort: port
        transport: 'http' // HTTP/1.1, which a WebSocket begins with
        allowInsecure: false
        additionalPortMappings: [{ external: false, targetPort: operatorPort, exposedPort: operatorPort }]
        traffic: [{ latestRevision: true, weight: 100 }]
      }
      registries: [{ server: registryServer, identity: identityId }]
    }
    template: {
      // Longer than the drain takes, so that nobody is killed in the middle of a goodbye.
      terminationGracePeriodSeconds: drainSeconds + 15
      containers: [
        {
          name: 'service'
          image: image
          command: ['python', '-m', package]
          resources: { cpu: json(cores), memory: memory[cores] }
          env: concat(given, [
            { name: 'APPLICATIONINSIGHTS_CONNECTION_STRING', value: insights.properties.ConnectionString }
            { name: 'AZURE_CLIENT_ID', value: clientId }
            { name: 'HOST', value: '0.0.0.0' }
            { name: 'OPERATOR_PORT', value: string(operatorPort) }
            { name: 'PORT', value: string(port) }
          ])
          // Liveness asks nobody else; readiness is false while Redis or secrets are missing, and from a drain's begin.
          probes: [
            { type: 'Startup', httpGet: { path: '/healthz', port: port }, periodSeconds: 2, failureThreshold: 30 }
            { type: 'Liveness', httpGet: { path: '/healthz', port: port }, periodSeconds: 10, timeoutSeconds: 5 }
            { type: 'Readiness', httpGet: { path: '/readyz', port: port }, periodSeconds: 5, timeoutSeconds: 5, failureThreshold: 2 }
          ]
        }
      ]
      scale: {
        minReplicas: minReplicas
        maxReplicas: maxReplicas
        cooldownPeriod: 300
        pollingInterval: 30
        // Never by HTTP requests: that rule counts those begun lately, and takes replicas away under open sockets.
        rules: [{ name: 'cpu', custom: { type: 'cpu', metadata: { type: 'Utilization', value: string(cpuPercent) } } }]
      }
    }
  }
  dependsOn: [readers]
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: app
  name: 'to-workspace'
  properties: { workspaceId: workspaceId, metrics: [{ category: 'AllMetrics', enabled: true }] }
}
