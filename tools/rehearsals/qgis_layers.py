"""Loads layers of SensorThings in QGIS without a display, and draws a map. Run by the Python of QGIS.

    QT_QPA_PLATFORM=offscreen /usr/bin/python3 tools/rehearsals/qgis_layers.py ROOT WEST,SOUTH,EAST,NORTH
    PICTURE

It prints JSON: of each layer whether it is valid, its features within the extent, their fields, and one of
them.
"""

import json
import sys
from typing import Any

from qgis.core import (
    Qgis,
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsFeatureRequest,
    QgsFillSymbol,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsMarkerSymbol,
    QgsPalLayerSettings,
    QgsProviderRegistry,
    QgsRectangle,
    QgsSensorThingsExpansionDefinition,
    QgsSingleSymbolRenderer,
    QgsVectorLayer,
    QgsVectorLayerSimpleLabeling,
)
from qgis.PyQt.QtCore import QSize, Qt
from qgis.PyQt.QtGui import QColor

_ENTITY = Qgis.SensorThingsEntity


def make_layer(root: str, entity: str, bounds: QgsRectangle, *expanded: Any) -> QgsVectorLayer:  # noqa: ANN401 (QGIS)
    """Make a layer of an entity type, limited to an extent, with what its entities link to."""
    parts: dict[str, Any] = {"url": root, "entity": entity, "pageSize": 100}
    if entity in {"Location", "FeatureOfInterest"}:
        parts["geometryType"] = "point"
    elif entity == "Datastream":
        parts["geometryType"] = "polygon"
    if "geometryType" in parts:
        parts["bounds"] = bounds
    if expanded:
        parts["expandTo"] = list(expanded)
    address = QgsProviderRegistry.instance().encodeUri("sensorthings", parts)
    return QgsVectorLayer(address, entity, "sensorthings")


def describe(layer: QgsVectorLayer, bounds: QgsRectangle) -> dict[str, Any]:
    """Read the features of a layer within an extent."""
    request = QgsFeatureRequest()
    if layer.isSpatial():
        request.setFilterRect(bounds)
    request.setLimit(20_000)
    features = list(layer.getFeatures(request))
    names = [field.name() for field in layer.fields()]
    first = {} if not features else {name: str(features[0][name]) for name in names}
    return {
        "valid": layer.isValid(),
        "spatial": layer.isSpatial(),
        "source": layer.source(),
        "error": layer.dataProvider().error().summary() if layer.dataProvider() else "no provider",
        "features": len(features),
        "fields": names,
        "first": first,
        "ids": sorted({str(feature["id"]) for feature in features}) if "id" in names else [],
    }


def draw(layers: list[QgsVectorLayer], bounds: QgsRectangle, picture: str) -> None:
    """Draw layers to a file."""
    settings = QgsMapSettings()
    settings.setLayers(layers)
    settings.setDestinationCrs(QgsCoordinateReferenceSystem("EPSG:4326"))
    settings.setExtent(bounds)
    settings.setOutputSize(QSize(1000, 700))
    settings.setBackgroundColor(QColor("white"))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(picture)


def style(layer: QgsVectorLayer, symbol: Any, label: str | None = None) -> None:  # noqa: ANN401 (QGIS)
    """Give a layer a symbol, and labels of a field."""
    layer.setRenderer(QgsSingleSymbolRenderer(symbol))
    if label is not None:
        labels = QgsPalLayerSettings()
        labels.fieldName = label
        layer.setLabeling(QgsVectorLayerSimpleLabeling(labels))
        layer.setLabelsEnabled(True)


def main(root: str, extent: str, picture: str) -> None:
    """Load, describe and draw."""
    application = QgsApplication([], False)
    application.initQgis()
    west, south, east, north = map(float, extent.split(","))
    bounds = QgsRectangle(west, south, east, north)
    newest = QgsSensorThingsExpansionDefinition(_ENTITY.Observation, "phenomenonTime", Qt.DescendingOrder, 1)
    layers = {
        "Location": make_layer(root, "Location", bounds),
        "FeatureOfInterest": make_layer(root, "FeatureOfInterest", bounds),
        "Datastream": make_layer(root, "Datastream", bounds),
        "Thing": make_layer(root, "Thing", bounds),
        "Observation": make_layer(root, "Observation", bounds),
        "Location to Observation": make_layer(
            root,
            "Location",
            bounds,
            QgsSensorThingsExpansionDefinition(_ENTITY.Thing),
            QgsSensorThingsExpansionDefinition(_ENTITY.Datastream),
            newest,
        ),
    }
    found = {name: describe(layer, bounds) for name, layer in layers.items()}
    style(layers["Datastream"], QgsFillSymbol.createSimple({"color": "#cfe3f7", "outline_color": "#7aa6d1"}))
    style(layers["Location"], QgsMarkerSymbol.createSimple({"color": "#c23b22", "size": "1.5"}))
    labelled = layers["Location to Observation"]
    style(labelled, QgsMarkerSymbol.createSimple({"color": "#00000000", "outline_color": "#00000000"}))
    result = next(
        (name for name in found["Location to Observation"]["fields"] if name.endswith("result")), None
    )
    if result is not None:
        style(labelled, QgsMarkerSymbol.createSimple({"size": "0.1"}), result)
    draw([labelled, layers["Location"], layers["Datastream"]], bounds, picture)
    print(json.dumps(found))  # noqa: T201 (its caller reads it)


if __name__ == "__main__":
    main(*sys.argv[1:])
