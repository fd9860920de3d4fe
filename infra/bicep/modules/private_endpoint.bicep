// A private address for one resource, and its name.

@description('Name of the endpoint.')
param name string

@description('Region of the virtual network.')
param location string

@description('Tags.')
param tags object

@description('Subnet that it gets its address from.')
param subnetId string

@description('Resource behind it.')
param targetId string

@description('Which part of that resource, as Azure names it.')
param groupId string

@description('Private DNS zone that gets its name.')
param zoneId string

resource endpoint 'Microsoft.Network/privateEndpoints@2025-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    subnet: { id: subnetId }
    privateLinkServiceConnections: [
      { name: name, properties: { privateLinkServiceId: targetId, groupIds: [groupId] } }
    ]
  }
}

resource names 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-05-01' = {
  parent: endpoint
  name: 'default'
  properties: { privateDnsZoneConfigs: [{ name: groupId, properties: { privateDnsZoneId: zoneId } }] }
}

