import 'uplot/dist/uPlot.min.css'
import './main.css'
import { render } from 'preact'
import { App } from './app.tsx'

render(<App />, document.body)
